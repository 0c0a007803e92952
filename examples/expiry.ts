// A login that ends by itself: after `expireIn` the entry is gone for reads, lists and checks alike.
// Run it: deno run --unstable-kv -A examples/expiry.ts

import { all, assert, assertEquals, clear, open } from "./kv.ts";

const kv = await open();
const session = ["sessions", "ada"];

await clear(kv, "sessions");
await kv.set(session, "short", { expireIn: 1500 });
await kv.set(["sessions", "bob"], "for ever");
assertEquals((await kv.get(session)).value, "short", "the session is there at first");

const start = Date.now();
while ((await kv.get(session)).value !== null) {
  if (Date.now() - start > 30_000) throw new Error("the session outlived its time by far");
  await new Promise((resolve) => setTimeout(resolve, 50));
}
assert(Date.now() - start >= 1000, "it stayed for its time, and then it was gone");

const left = await all(kv.list<string>({ prefix: ["sessions"] }));
assertEquals(left.map((entry) => entry.value), ["for ever"], "a list does not show it either");
const again = await kv.atomic().check({ key: session, versionstamp: null }).set(session, "new").commit();
assert(again.ok, "a check for absence agrees");

await kv.set(session, "first", { expireIn: 1500 });
await kv.set(session, "second");
await new Promise((resolve) => setTimeout(resolve, 2000));
assertEquals((await kv.get(session)).value, "second", "a plain set takes the expiry away");

await clear(kv, "sessions");
kv.close();

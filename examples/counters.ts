// Counters that many writers add to at once, without reading first: `sum`, `min` and `max`.
// Run it: deno run --unstable-kv -A examples/counters.ts

import { assert, assertEquals, clear, open } from "./kv.ts";

const kv = await open();
const visits = ["counters", "visits"];

await clear(kv, "counters");

// A hundred writers at once; nobody reads, nobody retries, nothing is lost.
await Promise.all(
  Array.from({ length: 100 }, () => kv.atomic().sum(visits, 1n).commit()),
);
assertEquals((await kv.get<Deno.KvU64>(visits)).value?.value, 100n, "a hundred visits were counted");

for (const celsius of [21n, 17n, 24n]) {
  await kv.atomic()
    .min(["counters", "coldest"], celsius)
    .max(["counters", "warmest"], celsius)
    .sum(["counters", "readings"], 1n)
    .commit();
}
const names = ["coldest", "warmest", "readings"];
const readings = await kv.getMany<Deno.KvU64[]>(names.map((name) => ["counters", name]));
assertEquals(readings.map((entry) => entry.value?.value), [17n, 24n, 3n], "the extremes and the count");

// A counter and the thing it counts, together: both happen or neither does.
const comment = ["counters", "comments", "1"];
const add = () =>
  kv.atomic()
    .check({ key: comment, versionstamp: null })
    .set(comment, "well said")
    .sum(["counters", "comment_count"], 1n)
    .commit();
const results = await Promise.all([add(), add(), add()]);
assertEquals(results.filter((result) => result.ok).length, 1, "one of three equal writers succeeds");
const count = await kv.get<Deno.KvU64>(["counters", "comment_count"]);
assertEquals(count.value?.value, 1n, "and it alone was counted");

// An unsigned counter wraps at 2^64: check first where it must not.
await kv.atomic().sum(visits, (1n << 64n) - 1n).commit();
assertEquals((await kv.get<Deno.KvU64>(visits)).value?.value, 99n, "adding 2^64 - 1 takes one away");

let refused = false;
await kv.set(["counters", "text"], "ten");
try {
  await kv.atomic().sum(["counters", "text"], 1n).commit();
} catch {
  refused = true;
}
assert(refused, "a sum with a text is refused");
assertEquals((await kv.get(["counters", "text"])).value, "ten", "and the text is still there");

await clear(kv, "counters");
kv.close();

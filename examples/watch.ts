// Follows two keys: a list price and a stock. Each message is one consistent view of both.
// Run it: deno run --unstable-kv -A examples/watch.ts

import { assertEquals, clear, open } from "./kv.ts";

const kv = await open();
const price = ["shop", "price"];
const stock = ["shop", "stock"];

await clear(kv, "shop");
await kv.atomic().set(price, 100).set(stock, 3).commit();

const messages = kv.watch<[number, number]>([price, stock]).getReader();

/** Waits until the watched keys have these values; changes in quick succession may arrive as one. */
async function until(expected: [number | null, number | null], what: string): Promise<void> {
  while (true) {
    const { done, value } = await messages.read();
    if (done) throw new Error(`the stream ended before: ${what}`);
    const seen = value.map((entry) => entry.value);
    if (JSON.stringify(seen) === JSON.stringify(expected)) {
      assertEquals(seen, expected, what);
      return;
    }
  }
}

await until([100, 3], "the first message says what is there");
await kv.set(price, 90);
await until([90, 3], "a change of one key arrives");
await kv.atomic().set(price, 80).set(stock, 2).commit();
await until([80, 2], "a change of both arrives as one message");
await kv.delete(stock);
await until([80, null], "a deletion arrives");
await kv.set(price, 70, { expireIn: 1000 });
await until([70, null], "a value that will expire arrives");
await until([null, null], "and so does its expiry");

await messages.cancel();
await clear(kv, "shop");
kv.close();

// Opens the database that DENO_KV_URL names (a CairnKV on this machine by default), in Deno and in Node,
// and says when an example is wrong.

/** Connects. The access token comes from DENO_KV_ACCESS_TOKEN, in both clients. */
export async function open(): Promise<Deno.Kv> {
  if (typeof Deno !== "undefined") {
    return await Deno.openKv(Deno.env.get("DENO_KV_URL") ?? "http://127.0.0.1:4512");
  }
  // Named in a variable, so that Deno does not look for a package that only Node needs.
  const [client, node] = ["@deno/kv", "node:process"];
  const url = (await import(node)).env.DENO_KV_URL;
  return await (await import(client)).openKv(url ?? "http://127.0.0.1:4512");
}

/** Removes all under a prefix: what an earlier run left, and at the end what this one did, as another runtime
 * may not be able to read it. */
export async function clear(kv: Deno.Kv, prefix: string): Promise<void> {
  for await (const entry of kv.list({ prefix: [prefix] })) await kv.delete(entry.key);
}

/** Everything that a list finds. */
export async function all<T>(list: Deno.KvListIterator<T>): Promise<Deno.KvEntry<T>[]> {
  const entries: Deno.KvEntry<T>[] = [];
  for await (const entry of list) entries.push(entry);
  return entries;
}

/** Ends the example with an error, and so with exit code 1, unless `holds`. */
export function assert(holds: unknown, what: string): asserts holds {
  if (!holds) throw new Error(`not so: ${what}`);
  console.log(`ok: ${what}`);
}

/** The same for two values, compared by what they would print as JSON. */
export function assertEquals(actual: unknown, expected: unknown, what: string): void {
  const text = (value: unknown) => JSON.stringify(value, (_, v) => typeof v === "bigint" ? `${v}n` : v);
  if (text(actual) !== text(expected)) {
    throw new Error(`not so: ${what}: ${text(actual)}, expected ${text(expected)}`);
  }
  console.log(`ok: ${what}`);
}

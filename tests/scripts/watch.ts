// Watches a key and says each value that it sees, until the stream ends.

const kv = await Deno.openKv(Deno.env.get("DENO_KV_URL"));
for await (const [entry] of kv.watch<[string]>([["watched"]])) console.log(`seen: ${entry.value}`);

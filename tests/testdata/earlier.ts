// Fills a server with what the directory of an earlier version is to have, and prints each entry as the test compares it.

const kv = await Deno.openKv(Deno.env.get("DENO_KV_URL"));
const bytes = (text: string) => new TextEncoder().encode(text);
for (let round = 0; round < 3; round++) {
  const waiting = [];
  for (let number = 0; number < 40; number++) {
    waiting.push(kv.set(["earlier", `key ${number}`], bytes(`value ${number} of round ${round}`)));
  }
  await Promise.all(waiting);
}
for (let number = 0; number < 40; number += 4) await kv.delete(["earlier", `key ${number}`]);
for await (const entry of kv.list<Uint8Array>({ prefix: ["earlier"] })) {
  const key = `\\x02earlier\\x00\\x02${String(entry.key[1])}\\x00`;
  console.log(`${entry.versionstamp} ${key} ${new TextDecoder().decode(entry.value)}`);
}
kv.close();

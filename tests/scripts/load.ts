// Writes and reads until standard input ends, then compares what it wrote with what is there. Counts every request
// that fails; ends with 1 if any did, or if anything is lost or wrong.

const kv = await Deno.openKv(Deno.env.get("DENO_KV_URL"));
const me = Deno.args[0];
const written = new Map<number, string>();
let requests = 0;
let failed = 0;
let added = 0;
let ended = false;

(async () => {
  while ((await Deno.stdin.read(new Uint8Array(16))) !== null);
  ended = true;
})();

async function attempt<T>(what: string, request: () => Promise<T>): Promise<T | undefined> {
  requests += 1;
  try {
    return await request();
  } catch (error) {
    failed += 1;
    console.error(`${what} failed: ${error}`);
  }
}

// Adds one with a check, so that a request that is sent twice counts once.
async function add() {
  const key = ["sum", me];
  const before = await attempt("a read", () => kv.get<number>(key));
  if (before === undefined) return;
  const done = await attempt(
    "a checked write",
    () => kv.atomic().check(before).set(key, (before.value ?? 0) + 1).commit(),
  );
  // A write whose answer was lost is sent again by the client, and then its check fails: look whether it was done.
  if (done?.ok) added += 1;
  else if (done !== undefined && (await kv.get<number>(key)).value === added + 1) added += 1;
}

for (let round = 1; !ended; round++) {
  const set = await attempt("a write", () => kv.set(["load", me, round], `value ${round}`));
  if (set?.ok) written.set(round, set.versionstamp);
  const seen = await attempt("a read", () => kv.get<string>(["load", me, round], { consistency: "strong" }));
  if (set?.ok && seen !== undefined && seen.value !== `value ${round}`) throw new Error(`round ${round} is not there`);
  await add();
  await attempt("an eventual read", () => kv.get(["sum", me], { consistency: "eventual" }));
  if (round % 10 === 0) console.log(`rounds: ${round}`);
}

let found = 0;
for await (const entry of kv.list<string>({ prefix: ["load", me] }, { consistency: "strong" })) {
  const round = entry.key[2] as number;
  if (entry.value !== `value ${round}`) throw new Error(`round ${round} is ${entry.value}`);
  if (written.has(round)) found += 1;
}
if (found !== written.size) throw new Error(`${written.size} written, ${found} there`);
const sum = (await kv.get<number>(["sum", me])).value ?? 0;
if (sum !== added) throw new Error(`${added} added, the sum is ${sum}`);
console.log(`requests: ${requests}`);
kv.close();
if (failed > 0) {
  console.error(`${failed} requests failed`);
  Deno.exit(1);
}
Deno.exit(0);

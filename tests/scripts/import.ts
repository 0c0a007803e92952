// Writes every kind of key, value and expiry that Deno KV has into a local database file
// (`make <file>`), and says what a database holds, one line an entry (`show [<file>]`).

const [action, file] = Deno.args;
const kv = await Deno.openKv(file ?? Deno.env.get("DENO_KV_URL"));

if (action === "make") {
  const circular: Record<string, unknown> = { name: "circular" };
  circular.self = circular;
  const values: Record<string, unknown> = {
    null: null,
    undefined: undefined,
    true: true,
    integer: 42,
    double: -0.5,
    notANumber: NaN,
    bigint: -(2n ** 70n),
    text: "tête-à-tête 🪨",
    empty: "",
    date: new Date(86_400_000),
    pattern: /a+b/gi,
    array: [1, [2, [3]], "x"],
    map: new Map<unknown, unknown>([["a", 1], [2, new Set([3])]]),
    bytes: new Uint8Array([0, 1, 255]),
    floats: new Float64Array([1.5, -2.5]),
    counter: new Deno.KvU64(2n ** 64n - 1n),
    circular,
    long: "y".repeat(60_000),
  };
  for (const [name, value] of Object.entries(values)) await kv.set(["values", name], value);

  const parts: Deno.KvKeyPart[] = [
    new Uint8Array([0, 255, 0]),
    "a\0b",
    -1.5,
    0,
    2 ** 40,
    -(2n ** 100n),
    7n,
    false,
    true,
  ];
  for (const part of parts) await kv.set(["keys", part, "end"], `key of ${typeof part}`);
  for (let index = 0; index < 2500; index++) await kv.set(["many", index], index);
  await kv.set(["expiring", "in a day"], "there", { expireIn: 86_400_000 });
  await kv.set(["expiring", "soon"], "there for a while", { expireIn: Number(Deno.args[2]) });
  await kv.set(["deleted"], "gone");
  await kv.delete(["deleted"]);
} else {
  for await (const entry of kv.list({ prefix: [] })) {
    console.log(Deno.inspect([entry.key, entry.value], { depth: 10, colors: false }).replaceAll(/\s+/g, " "));
  }
}
kv.close();

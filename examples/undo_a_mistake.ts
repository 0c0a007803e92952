// Deletes the wrong user, and finds the user again in a database restored to the commit before.
//
//   deno run --unstable-kv -A examples/undo_a_mistake.ts            prints the commit before the mistake
//   cairn restore --from <archive> --at <that commit> --to restored
//   cairn serve --data restored --addr 127.0.0.1:4513
//   DENO_KV_URL=http://127.0.0.1:4513 deno run --unstable-kv -A examples/undo_a_mistake.ts look

import { assert, assertEquals, clear, open } from "./kv.ts";

const kv = await open();
const ada = ["people", "ada"];
const adaByEmail = ["people_by_email", "ada@example.com"];
const looking = typeof Deno === "undefined"
  // deno-lint-ignore no-process-global
  ? (globalThis as unknown as { process: { argv: string[] } }).process.argv[2] === "look"
  : Deno.args[0] === "look";

if (looking) {
  const [person, id] = await kv.getMany([ada, adaByEmail]);
  assertEquals(person.value, { name: "Ada", orders: 12 }, "Ada is back, with all her orders");
  assertEquals(id.value, "ada", "and so is her index entry: a commit comes back whole");
  assert(id.versionstamp === person.versionstamp, "both with the versionstamp they had");
  console.log(`restored: ${person.versionstamp}`);
} else {
  await clear(kv, "people");
  await clear(kv, "people_by_email");
  const added = await kv.atomic()
    .set(ada, { name: "Ada", orders: 12 })
    .set(adaByEmail, "ada")
    .commit();
  assert(added.ok, "Ada is added");

  const mistake = await kv.atomic().delete(ada).delete(adaByEmail).commit();
  assert(mistake.ok, "Ada is deleted, by mistake");
  assertEquals((await kv.get(ada)).value, null, "Ada is gone");
  console.log(`before: ${added.versionstamp}`);
  console.log(`mistake: ${mistake.versionstamp}`);
}

kv.close();

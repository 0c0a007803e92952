// Users that can be found by e-mail address (one user each) and by favourite colour (many users each).
//
//   ["users", id]                        the user
//   ["users_by_email", email]            a unique index: holds the id
//   ["users_by_colour", colour, id]      a non-unique index: the id is part of the key
//
// A user and its index entries change in one atomic write, so no reader ever sees one without the others.
// Run it: deno run --unstable-kv -A examples/secondary_indexes.ts

import { all, assert, assertEquals, clear, open } from "./kv.ts";

interface User {
  id: string;
  name: string;
  email: string;
  colour: string;
}

const kv = await open();

/** Adds a user; false when the id or the address is taken. */
async function insertUser(user: User): Promise<boolean> {
  const byId = ["users", user.id];
  const byEmail = ["users_by_email", user.email];
  const result = await kv.atomic()
    .check({ key: byId, versionstamp: null }) // nobody has this id,
    .check({ key: byEmail, versionstamp: null }) // nor this address
    .set(byId, user)
    .set(byEmail, user.id)
    .set(["users_by_colour", user.colour, user.id], user.id)
    .commit();
  return result.ok;
}

/** Looks a user up by the unique index: two reads. */
async function getUserByEmail(email: string): Promise<User | null> {
  const id = (await kv.get<string>(["users_by_email", email])).value;
  return id === null ? null : (await kv.get<User>(["users", id])).value;
}

/** All users with a colour, by the non-unique index: one list, then reads in groups of ten. */
async function listUsersByColour(colour: string): Promise<User[]> {
  const keys: Deno.KvKey[] = [];
  for await (const entry of kv.list<string>({ prefix: ["users_by_colour", colour] })) {
    keys.push(["users", entry.value]);
  }
  const users: User[] = [];
  for (let from = 0; from < keys.length; from += 10) {
    const entries = await kv.getMany<User[]>(keys.slice(from, from + 10));
    for (const { value } of entries) if (value !== null) users.push(value);
  }
  return users;
}

/** Changes the colour, which moves the index entry; starts again when somebody else was faster. */
async function changeColour(id: string, colour: string): Promise<boolean> {
  const key = ["users", id];
  while (true) {
    const found = await kv.get<User>(key);
    if (found.value === null) return false;
    const result = await kv.atomic()
      .check(found) // the user is still the one that was read
      .set(key, { ...found.value, colour })
      .delete(["users_by_colour", found.value.colour, id])
      .set(["users_by_colour", colour, id], id)
      .commit();
    if (result.ok) return true;
  }
}

/** Deletes a user and all index entries, with the same loop. */
async function deleteUser(id: string): Promise<boolean> {
  const key = ["users", id];
  while (true) {
    const found = await kv.get<User>(key);
    if (found.value === null) return false;
    const result = await kv.atomic()
      .check(found)
      .delete(key)
      .delete(["users_by_email", found.value.email])
      .delete(["users_by_colour", found.value.colour, id])
      .commit();
    if (result.ok) return true;
  }
}

const prefixes = ["users", "users_by_email", "users_by_colour"];
for (const prefix of prefixes) await clear(kv, prefix);

const ada = { id: "1", name: "Ada", email: "ada@example.com", colour: "blue" };
const bob = { id: "2", name: "Bob", email: "bob@example.com", colour: "red" };
const cleo = { id: "3", name: "Cleo", email: "cleo@example.com", colour: "blue" };
for (const user of [ada, bob, cleo]) assert(await insertUser(user), `${user.name} is added`);

assert(!await insertUser({ ...bob, id: "4", email: ada.email }), "a taken address is refused");
assertEquals((await kv.get(["users", "4"])).value, null, "and the refused write left nothing behind");
assertEquals(await getUserByEmail("ada@example.com"), ada, "Ada is found by her address");
assertEquals(await getUserByEmail("nobody@example.com"), null, "nobody is found by an unused one");
assertEquals(await listUsersByColour("blue"), [ada, cleo], "two users like blue");

// Ten changes of one user at once: the loop makes each of them happen, one after the other.
const colours = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "green"];
const changes = await Promise.all(colours.map((colour) => changeColour("1", colour)));
assert(changes.every((done) => done), "ten changes at once all succeed");
await changeColour("1", "green");
assertEquals(await listUsersByColour("blue"), [cleo], "Ada has left blue");
assertEquals(await listUsersByColour("green"), [{ ...ada, colour: "green" }], "and is in green");
const entries = await all(kv.list({ prefix: ["users_by_colour"] }));
assertEquals(entries.length, 3, "each user has exactly one entry in the index");

const [one, other] = await Promise.all([deleteUser("1"), deleteUser("1")]);
assert(one !== other, "of two deletions at once, one finds the user and one does not");
assertEquals(await getUserByEmail("ada@example.com"), null, "the address is free again");
assertEquals(await listUsersByColour("green"), [], "and the colour is empty");
assert(await insertUser({ ...ada, id: "5" }), "somebody else can take the address");

for (const prefix of prefixes) await clear(kv, prefix);
kv.close();

import assert from "node:assert/strict";
import { randomFillSync } from "node:crypto";
import { test } from "node:test";
import { joinOf, lostWords } from "../src/resume.js";
import { ResumeKeeper, type KeyShelf } from "../src/resume-key.js";
import { newSlot } from "../src/token.js";

const SLOT = newSlot((bytes) => randomFillSync(bytes));

function shelf(): KeyShelf & { items: Map<string, string> } {
  const items = new Map<string, string>();
  return {
    items,
    getItem: (name) => items.get(name) ?? null,
    setItem: (name, value) => void items.set(name, value),
    removeItem: (name) => void items.delete(name),
  };
}

function refuse(): never {
  throw new Error("blocked");
}

test("a page's first connection joins nothing", () => {
  assert.deepEqual(joinOf(null, { session: "s", position: 7 }), { kind: "first" });
});

test("in the same session the offsets say what is missing or comes again", () => {
  const before = { session: "s", position: 7 };
  assert.deepEqual(joinOf(before, { session: "s", position: 7 }), { kind: "seamless" });
  assert.deepEqual(joinOf(before, { session: "s", position: 10 }), { kind: "lost", bytes: 3 });
  assert.deepEqual(joinOf(before, { session: "s", position: 0 }), { kind: "replayed" });
});

test("another session's offsets, and those of a server that names none, mean nothing", () => {
  assert.deepEqual(joinOf({ session: "s", position: 7 }, { session: "t", position: 7 }), { kind: "new" });
  assert.deepEqual(joinOf({ session: "", position: 7 }, { session: "", position: 7 }), { kind: "new" });
});

test("lost bytes are counted for the person", () => {
  assert.match(lostWords(1), /^1 byte of output was lost/);
  assert.match(lostWords(20), /^20 bytes of output were lost/);
});

test("a reload finds the key that the page left", () => {
  const storage = shelf();
  const first = new ResumeKeeper(storage, SLOT);
  assert.equal(first.key, null);
  first.key = "s.k";
  first.shelve(true);
  const reloaded = new ResumeKeeper(storage, SLOT);
  reloaded.shelve(false);
  assert.equal(reloaded.key, "s.k");
});

test("while a page is looked at, a copy of its tab finds no key", () => {
  const storage = shelf();
  const looked = new ResumeKeeper(storage, SLOT);
  looked.shelve(true);
  looked.key = "s.k";
  assert.equal(storage.items.size, 1);
  looked.shelve(false);
  looked.key = "s.l";
  assert.equal(storage.items.size, 0);
  assert.equal(new ResumeKeeper(storage, SLOT).key, null);
  assert.equal(looked.key, "s.l");
});

test("another frame's key is another one, and a session without a key leaves none", () => {
  const storage = shelf();
  const keeper = new ResumeKeeper(storage, SLOT);
  keeper.shelve(true);
  keeper.key = "s.k";
  assert.equal(new ResumeKeeper(storage, newSlot((bytes) => randomFillSync(bytes))).key, null);
  keeper.key = null;
  assert.equal(storage.items.size, 0);
});

test("where the browser refuses storage, memory keeps the key", () => {
  for (const storage of [null, { getItem: refuse, setItem: refuse, removeItem: refuse }]) {
    const keeper = new ResumeKeeper(storage, SLOT);
    keeper.key = "s.k";
    keeper.shelve(true);
    keeper.shelve(false);
    assert.equal(keeper.key, "s.k");
  }
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { cleanPaste, encodeBinary, encodeText } from "../src/encode.js";
import { BAR_KEYS, bytesOf, KEY_GROUPS, withControl } from "../src/keys.js";
import { shortcutOf } from "../src/shortcuts.js";

const KEYS = new Map(KEY_GROUPS.flatMap((group) => group.keys).map((key) => [key.label, key]));

function sends(label: string, application = false): string {
  const key = KEYS.get(label);
  assert.ok(key, label);
  return bytesOf(key, application);
}

function press(combination: string, code = ""): Parameters<typeof shortcutOf>[0] {
  const parts = combination.split(" ");
  const has = (name: string): boolean => parts.includes(name);
  return { key: parts.at(-1) ?? "", code, ctrlKey: has("Ctrl"), shiftKey: has("Shift"), altKey: has("Alt"), metaKey: has("Meta") };
}

test("typed text leaves as UTF-8, binary reports as one byte for each character", () => {
  assert.deepEqual([...encodeText("é\r")], [0xc3, 0xa9, 0x0d]);
  const all = String.fromCharCode(...Array.from({ length: 256 }, (_, byte) => byte));
  assert.deepEqual([...encodeBinary(all)], Array.from({ length: 256 }, (_, byte) => byte));
});

test("pasted text cannot end bracketed paste by itself", () => {
  assert.equal(cleanPaste("a\x1b[201~rm\n\ttab\x9b"), "a[201~rm\n\ttab");
});

test("the keys send what a terminal sends", () => {
  assert.equal(sends("Ctrl-W"), "\x17");
  assert.equal(sends("Ctrl-T"), "\x14");
  assert.equal(sends("Ctrl-N"), "\x0e");
  assert.equal(sends("Ctrl-]"), "\x1d");
  assert.equal(sends("Ctrl-\\"), "\x1c");
  assert.equal(sends("Esc"), "\x1b");
  assert.equal(sends("↑"), "\x1b[A");
  assert.equal(sends("↑", true), "\x1bOA");
  assert.equal(sends("F1"), "\x1bOP");
  assert.equal(sends("F5"), "\x1b[15~");
  assert.equal(sends("F12"), "\x1b[24~");
});

test("each key has a spoken name of its own", () => {
  const spoken = KEY_GROUPS.flatMap((group) => group.keys).map((key) => key.spoken);
  assert.equal(new Set(spoken).size, spoken.length);
});

test("the bar has its keys, and its Ctrl makes control characters of what has one", () => {
  assert.deepEqual(BAR_KEYS.map((key) => key.label), ["Esc", "Tab", "←", "↓", "↑", "→"]);
  assert.equal(withControl("c"), "\x03");
  assert.equal(withControl("C"), "\x03");
  assert.equal(withControl("["), "\x1b");
  assert.equal(withControl("?"), "\x7f");
  assert.equal(withControl(" "), "\0");
  assert.equal(withControl("1"), "1");
  assert.equal(withControl("é"), "é");
});

test("plain Ctrl-C and Ctrl-V are the guest's; with Shift they copy and paste", () => {
  for (const key of ["Ctrl c", "Ctrl v", "Ctrl f", "Shift C", "c"]) assert.equal(shortcutOf(press(key), false), null, key);
  assert.equal(shortcutOf(press("Ctrl Shift C"), false), "copy");
  assert.equal(shortcutOf(press("Ctrl Shift V"), false), "paste");
  assert.equal(shortcutOf(press("Ctrl Insert"), false), "copy");
  assert.equal(shortcutOf(press("Shift Insert"), false), "paste");
  assert.equal(shortcutOf(press("Insert"), false), null);
});

test("Cmd copies and pastes on a Mac only", () => {
  assert.equal(shortcutOf(press("Meta c"), true), "copy");
  assert.equal(shortcutOf(press("Meta v"), true), "paste");
  assert.equal(shortcutOf(press("Meta c"), false), null);
  assert.equal(shortcutOf(press("Meta w"), true), null);
});

test("find, text size and the toolbar have keys; AltGr combinations are the guest's", () => {
  assert.equal(shortcutOf(press("Ctrl Shift F"), false), "find");
  assert.equal(shortcutOf(press("Ctrl Shift L"), false), "toolbar");
  assert.equal(shortcutOf(press("Ctrl Shift >", "Period"), false), "larger");
  assert.equal(shortcutOf(press("Ctrl Shift ;", "Comma"), false), "smaller");
  assert.equal(shortcutOf(press("Ctrl Alt Shift F"), false), null);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULTS, fontSize, parsePreferences, PreferenceStore } from "../src/preferences.js";

test("what is missing, wrong or damaged falls back to the default", () => {
  for (const stored of [null, "", "{", "7", "null", "[]", '{"fontSize":"x","theme":"pink","screenReader":1}']) {
    assert.deepEqual(parsePreferences(stored), DEFAULTS, String(stored));
  }
});

test("a font size stays within bounds", () => {
  assert.equal(fontSize(1), 8);
  assert.equal(fontSize(99), 32);
  assert.equal(parsePreferences('{"fontSize":1e9}').fontSize, 32);
});

test("a change is remembered, and nothing but preferences is stored", () => {
  const items = new Map<string, string>();
  const storage = {
    getItem: (name: string) => items.get(name) ?? null,
    setItem: (name: string, value: string) => void items.set(name, value),
  };
  new PreferenceStore(() => storage).change({ theme: "dark", screenReader: true });
  assert.deepEqual(new PreferenceStore(() => storage).now, { ...DEFAULTS, theme: "dark", screenReader: true });
  assert.deepEqual([...items.keys()], ["consoled.preferences"]);
});

test("where storage is refused, preferences last as long as the page", () => {
  const store = new PreferenceStore(() => {
    throw new Error("blocked");
  });
  assert.equal(store.change({ fontSize: 20 }).fontSize, 20);
  assert.equal(store.now.fontSize, 20);
});

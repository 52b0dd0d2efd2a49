import assert from "node:assert/strict";
import { test } from "node:test";
import { askedWords, requestWords, secondsLeft } from "../src/turn.js";

test("the seconds that are left are whole, and never below none", () => {
  assert.deepEqual([0, 1, 999, 1000, 9001, 10_000, 11_000].map((now) => secondsLeft(10_000, now)), [10, 10, 10, 9, 1, 0, 0]);
});

test("whoever has asked reads of whom, and how long it takes", () => {
  assert.equal(askedWords("mia", 8), "Asked mia; the console is yours in 8 s.");
  assert.equal(askedWords(null, 0), "Asked its user; the console is yours in a moment.");
});

test("whoever is asked reads by whom, and how long there is", () => {
  assert.equal(requestWords("noa", 8), "noa asks for this console; it goes to them in 8 s.");
  assert.equal(requestWords("noa", 0), "noa asks for this console; it goes to them now.");
  assert.doesNotMatch(requestWords("a\u202e\n", 1), /[\n\u202e]/);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import type { CastEvent } from "../src/replay-cast.js";
import { actionOf } from "../src/replay-keys.js";
import { MOST_HITS, SearchText } from "../src/replay-search.js";
import { clockWords, lastAtMost, Timeline } from "../src/replay-timeline.js";

function printed(...texts: string[]): SearchText {
  return new SearchText(texts.map((text, at): CastEvent => ({ at, kind: "output", text })));
}

test("idle time is skipped, and each moment has its place on both clocks", () => {
  const timeline = new Timeline([0, 1, 3601, 3602], 2);
  assert.deepEqual(timeline.shown, [0, 1, 3, 4]);
  assert.equal(timeline.duration, 4);
  for (const [moment, shown] of [[0, 0], [0.5, 0.5], [1, 1], [1801, 2], [3601, 3], [3602, 4], [9999, 4]] as const) {
    assert.equal(timeline.toShown(moment), shown);
    if (moment < 9000) assert.equal(timeline.toSession(shown), moment);
  }
  const all = new Timeline([0, 3600], Infinity);
  assert.equal(all.duration, 3600);
  assert.equal(new Timeline([], 2).duration, 0);
  assert.equal(new Timeline([5], 2).toShown(2.5), 1);
});

test("the last value that is small enough is found", () => {
  assert.deepEqual([-1, 0, 1, 2.5, 9].map((limit) => lastAtMost([0, 1, 1, 3], limit)), [-1, 0, 2, 2, 3]);
});

test("times read as people write them", () => {
  assert.deepEqual([0, 62.9, 3599, 3661, -1].map(clockWords), ["0:00", "1:02", "59:59", "1:01:01", "0:00"]);
});

test("words are found with the moment at which they were complete", () => {
  const { hits, more } = printed("log", "in: \x1b[1mmi", "a\r\nnext").find("LOGIN: mia");
  assert.deepEqual(hits, [{ at: 2, before: "", match: "login: mia", after: "" }]);
  assert.equal(more, false);
});

test("a hit has the rest of its line beside it, and no more", () => {
  const [hit] = printed("one\r\ntwo words here\r\nthree").find("words").hits;
  assert.deepEqual([hit?.before, hit?.after], ["two ", " here"]);
});

test("a jump of the cursor parts words, a colour does not", () => {
  const text = printed("a\x1b[5;1Hb c\x1b[31md");
  assert.equal(text.find("ab").hits.length, 0);
  assert.equal(text.find("cd").hits.length, 1);
});

test("what was rubbed out is not found, also where the backspace came later", () => {
  const text = printed("rm -rf", "\b \b", "\b \b", "ls", " x\b \by");
  assert.equal(text.find("rm -ls y").hits.length, 1);
  assert.equal(text.find("-rf").hits.length, 0);
  assert.equal(text.find("ls").hits[0]?.at, 3);
});

test("what is looked for is text, not a pattern, and a long list ends", () => {
  assert.equal(printed("a.c abc a.c").find("a.c").hits.length, 2);
  assert.equal(printed("(((").find("(").hits.length, 3);
  assert.deepEqual(printed("x").find("  "), { hits: [], more: false });
  const { hits, more } = printed("y".repeat(MOST_HITS + 1)).find("y");
  assert.deepEqual([hits.length, more], [MOST_HITS, true]);
});

test("keys act alone; with Alt, Ctrl or Meta they are the browser's", () => {
  const press = (key: string, has: string = ""): Parameters<typeof actionOf>[0] => ({
    key, ctrlKey: has.includes("c"), shiftKey: has.includes("s"), altKey: has.includes("a"), metaKey: has.includes("m"),
  });
  assert.deepEqual(actionOf(press(" ")), { kind: "toggle" });
  assert.deepEqual(actionOf(press("ArrowLeft")), { kind: "by", seconds: -5 });
  assert.deepEqual(actionOf(press("ArrowRight", "s")), { kind: "by", seconds: 60 });
  assert.deepEqual(actionOf(press("F", "cs")), { kind: "search" });
  for (const has of ["a", "m", "c"]) assert.equal(actionOf(press("ArrowLeft", has)), null);
  assert.equal(actionOf(press("x")), null);
});

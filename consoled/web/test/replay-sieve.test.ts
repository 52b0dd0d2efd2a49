import assert from "node:assert/strict";
import { test } from "node:test";
import { Sieve } from "../src/replay-sieve.js";

function clean(...pieces: string[]): string {
  const sieve = new Sieve();
  return pieces.map((piece) => sieve.clean(piece)).join("");
}

test("text, colours and movements go through as they are", () => {
  const drawing = "a\tb\r\n\x1b[1;31mred\x1b[0m\x1b[2J\x1b[3;4H\x1b[K\x1b[?25l\x1b[?1049h\x1b(0q\x1b(B\x1b7\x1b8\x1bM\b 日本 \x1b[38;2;1;200;3mx";
  assert.equal(clean(drawing), drawing);
});

test("clipboard, title, links, reports, modes and window operations do not", () => {
  for (const bad of [
    "\x1b]52;c;c3RvbGVu\x07", "\x1b]0;title\x1b\\", "\x1b]8;;javascript:x\x07", "\x1bP$qm\x1b\\", "\x1b_app\x1b\\", "\x1b^pm\x1b\\",
    "\x1bXsos\x1b\\", "\x1b[6n", "\x1b[c", "\x1b[21t", "\x1b[8;60000;60000t", "\x1b[?2004h", "\x1b[?1000;1006h", "\x1b[?25;1004h",
    "\x9b6n", "\x9d52;c;x\x07", "\x07", "\x1b#8", "\x1b%G",
  ]) {
    assert.equal(clean(`<${bad}>`), "<>", JSON.stringify(bad));
  }
});

test("what is harmless by itself ends no string that began before", () => {
  assert.equal(clean("\x1b]0;a", "b\r\n\x1b[1m", "c\x07d"), "d");
  assert.equal(clean("\x1b[3", "1", "m!"), "\x1b[31m!");
});

test("what is cut between two events is judged whole", () => {
  assert.equal(clean("a\x1b", "[3", "1mb"), "a\x1b[31mb");
  assert.equal(clean("a\x1b]52;c;", "c3Rv", "\x1b", "\\b"), "ab");
  assert.equal(clean("a\x1b[6", "nb"), "ab");
});

test("an endless string or sequence keeps nothing", () => {
  assert.equal(clean("\x1b]0;", ...Array<string>(100).fill("never ".repeat(1000)), "\x07end"), "end");
  assert.ok(clean("\x1b[", "1;".repeat(10_000), "mx").length < 30_000);
});

test("numbers that move, erase or repeat are bounded, colours and modes are not touched", () => {
  assert.equal(clean("x\x1b[99999999b\x1b[70000;8H\x1b[38;5;999m\x1b[?1049h"), "x\x1b[500b\x1b[500;8H\x1b[38;5;999m\x1b[?1049h");
});

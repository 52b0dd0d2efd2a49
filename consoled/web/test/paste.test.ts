import assert from "node:assert/strict";
import { test } from "node:test";
import { percentOf, runningWords, stoppedWords } from "../src/paste-words.js";
import { endOf, pasteOf, Pasting, WINDOW, type Paste, type Progress } from "../src/paste.js";

const utf8 = new TextDecoder();

function words(progress: Progress): string {
  return `${progress.sent}/${progress.total}`;
}

/** A page over a server that takes what it is sent, and says so when the test wants. */
function rig(counts = true): { pasting: Pasting; sent: string[]; heard: string[]; wire: { counts: boolean } } {
  const sent: string[] = [];
  const heard: string[] = [];
  const wire = {
    counts,
    send: (bytes: Uint8Array) => sent.push(utf8.decode(bytes)),
    announce: (bytes: number) => sent.push(`<paste ${bytes}>`),
    cancelPaste: () => sent.push("<cancel>"),
  };
  const pasting = new Pasting(wire, {
    progressed: (progress) => heard.push(words(progress)),
    finished: (progress) => heard.push(`finished ${words(progress)}`),
    stopped: (progress, why) => heard.push(`${why} ${words(progress)}`),
  });
  return { pasting, sent, heard, wire };
}

function key(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

function plain(size: number): Paste {
  return pasteOf("x".repeat(size), false);
}

/** Bytes of the pieces so far. */
function pieces(sent: readonly string[]): number {
  return sent.filter((piece) => piece.startsWith("x")).join("").length;
}

test("line breaks are returns, and a program that asked for it gets its brackets", () => {
  assert.equal(utf8.decode(pasteOf("a\r\nb\nc\r", false).bytes), "a\rb\rc\r");
  assert.equal(utf8.decode(pasteOf("é\n", true).bytes), "\x1b[200~é\r\x1b[201~");
});

test("a paste that is cut off ends at a character, and with its bracket", () => {
  const text = (paste: Paste, gone: number): string => utf8.decode(endOf(paste, gone));
  const open = pasteOf("a€b", false);
  assert.deepEqual([0, 1, 4, 5].map((gone) => text(open, gone)), ["", "", "", ""]);
  assert.deepEqual([...endOf(open, 2)], [0x82, 0xac]);
  assert.deepEqual([...endOf(open, 3)], [0xac]);
  const bracketed = pasteOf("a€b", true);
  assert.equal(text(bracketed, 0), "");
  assert.equal(text(bracketed, 2), "200~\x1b[201~");
  assert.equal(text(bracketed, 6), "\x1b[201~");
  assert.equal(text(bracketed, 7), "\x1b[201~");
  assert.deepEqual([...endOf(bracketed, 8)], [0x82, 0xac, ...key("\x1b[201~")]);
  assert.equal(text(bracketed, 11), "\x1b[201~");
  assert.equal(text(bracketed, 13), "201~");
  assert.equal(text(bracketed, 17), "");
});

test("every cut of a bracketed paste leaves whole characters between two brackets", () => {
  const paste = pasteOf("zażółć €😀\n".repeat(3), true);
  const strict = new TextDecoder("utf-8", { fatal: true });
  for (let gone = 1; gone <= paste.bytes.length; gone += 1) {
    const got = strict.decode(Uint8Array.of(...paste.bytes.subarray(0, gone), ...endOf(paste, gone)));
    assert.match(got, /^\x1b\[200~[^\x1b]*\x1b\[201~$/, String(gone));
  }
});

test("what is typed goes at once while nothing is pasted", () => {
  const { pasting, sent, heard } = rig();
  pasting.type(key("l"));
  pasting.type(key("\x03"));
  pasting.cancel();
  pasting.counted(7, false);
  pasting.broken();
  assert.deepEqual(sent, ["l", "\x03"]);
  assert.deepEqual(heard, []);
});

test("no more than a window is on its way, and each byte at the console makes room", () => {
  const { pasting, sent, heard } = rig();
  pasting.paste(plain(20_000));
  assert.equal(sent[0], "<paste 20000>");
  assert.equal(pieces(sent), WINDOW);
  pasting.counted(3000, false);
  assert.ok(pieces(sent) >= WINDOW + 3000 && pieces(sent) < WINDOW + 3000 + 1024);
  for (let gone = 6000; gone < 20_000; gone += 1000) pasting.counted(gone, false);
  assert.equal(pieces(sent), 20_000);
  pasting.counted(20_000, false);
  assert.deepEqual(heard.slice(0, 2), ["0/20000", "3000/20000"]);
  assert.equal(heard.at(-1), "finished 20000/20000");
  pasting.type(key("q"));
  assert.equal(sent.at(-1), "q");
});

test("what is typed or pasted meanwhile waits behind it, in its order", () => {
  const { pasting, sent } = rig();
  pasting.paste(plain(2000));
  pasting.type(key("a"));
  pasting.paste(plain(1500));
  pasting.type(key("b"));
  assert.equal(pieces(sent), 2000);
  pasting.counted(2000, false);
  assert.deepEqual(sent.slice(3), ["a", "<paste 1500>", "x".repeat(1024), "x".repeat(476)]);
  pasting.counted(1500, false);
  assert.equal(sent.at(-1), "b");
});

test("after Cancel nothing more is sent, what waits behind is dropped, and it says how much went", () => {
  const { pasting, sent, heard } = rig();
  pasting.paste(plain(20_000));
  pasting.type(key("a"));
  pasting.counted(1024, false);
  const before = pieces(sent);
  pasting.cancel();
  pasting.cancel();
  assert.equal(sent.at(-1), "<cancel>");
  pasting.counted(2048, false);
  pasting.type(key("b"));
  assert.equal(sent.at(-1), "<cancel>");
  pasting.counted(2100, true);
  assert.equal(pieces(sent), before);
  assert.deepEqual(sent.slice(-2), ["<cancel>", "b"]);
  assert.equal(heard.at(-1), "cancelled 2100/20000");
});

test("an interrupt key cancels, and goes right after what ends the paste", () => {
  for (const interrupt of ["\x03", "\x1a", "\x1c"]) {
    const { pasting, sent } = rig();
    pasting.paste(pasteOf("€".repeat(5000), true));
    pasting.type(key("a"));
    pasting.type(key(interrupt));
    pasting.counted(9, true);
    assert.deepEqual(sent.slice(-3), ["<cancel>", "\x1b[201~", interrupt]);
  }
});

test("a Cancel that comes too late finds the paste finished", () => {
  const { pasting, sent, heard } = rig();
  pasting.paste(plain(2000));
  pasting.cancel();
  pasting.counted(2000, false);
  pasting.type(key("a"));
  assert.deepEqual(sent.slice(-2), ["<cancel>", "a"]);
  assert.equal(heard.at(-1), "finished 2000/2000");
});

test("what the server drops by itself ends the paste, and the server hears that no more comes", () => {
  const { pasting, sent, heard } = rig();
  pasting.paste(plain(20_000));
  pasting.type(key("a"));
  pasting.counted(1000, true);
  assert.equal(sent.at(-1), "<cancel>");
  assert.equal(heard.at(-1), "dropped 1000/20000");
  pasting.type(key("b"));
  assert.equal(sent.at(-1), "b");
});

test("a count that cannot be is bounded", () => {
  const { pasting, heard } = rig();
  pasting.paste(plain(20_000));
  pasting.counted(1e9, false);
  pasting.counted(5, false);
  assert.deepEqual(heard, ["0/20000", `${WINDOW}/20000`, `${WINDOW}/20000`]);
});

test("a connection that ends ends the paste", () => {
  const { pasting, sent, heard } = rig();
  pasting.paste(plain(20_000));
  pasting.type(key("a"));
  pasting.broken();
  const count = sent.length;
  pasting.counted(5000, false);
  assert.equal(sent.length, count);
  assert.deepEqual(heard, ["0/20000", "broken 0/20000"]);
});

test("a server that does not count gets it all at once", () => {
  const { pasting, sent, heard } = rig(false);
  pasting.paste(plain(20_000));
  assert.deepEqual(sent, ["x".repeat(20_000)]);
  assert.deepEqual(heard, []);
});

test("words for the person, in bytes or KiB", () => {
  assert.equal(runningWords({ sent: 500, total: 2000 }), "Pasting: 500 of 2000 bytes (25 %)");
  assert.equal(runningWords({ sent: 65_535, total: 65_536 }), "Pasting: 64.0 of 64.0 KiB (99 %)");
  assert.equal(stoppedWords({ sent: 12_700, total: 65_536 }, "cancelled"), "Paste cancelled: 12.4 of 64.0 KiB were sent.");
  assert.match(stoppedWords({ sent: 0, total: 20_000 }, "dropped"), /^Paste stopped: 0\.0 of/);
  assert.match(stoppedWords({ sent: 0, total: 20_000 }, "broken"), /^The connection ended during a paste/);
  assert.equal(percentOf({ sent: 65_536, total: 65_536 }), 100);
});

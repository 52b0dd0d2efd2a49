import assert from "node:assert/strict";
import { test } from "node:test";
import { BadCast, CastReader, MOST_EVENTS, MOST_WORK } from "../src/replay-cast.js";

const HEAD = '{"version": 3, "term": {"cols": 80, "rows": 24}, "timestamp": 1767225600, "title": "web-1"}\n';
const ABOUT = '# consoled {"session_id": "8c1f", "user_id": "mia"}\n';

function read(...pieces: string[]): CastReader {
  const reader = new CastReader();
  for (const piece of pieces) reader.read(piece);
  return reader;
}

test("a recording is read as docs/recording.rst shows one, whatever the pieces", () => {
  const file =
    HEAD + ABOUT + '[0.000, "m", "attach mia"]\n[0.250, "o", "h\\u00e9\\ufffd\\r\\n"]\n# raw aMOp/w0K\n# sha256 7da6\n' +
    '[1.250, "r", "120x40"]\n[0.500, "i", "typed"]\n[0.500, "o", "end"]\n# end sha256 3f2a\n';
  for (const size of [1, 7, file.length]) {
    const reader = read(...(file.match(new RegExp(`[^]{1,${size}}`, "g")) ?? []));
    assert.deepEqual(reader.events, [
      { at: 0, kind: "mark", label: "attach mia" },
      { at: 0.25, kind: "output", text: "hé\ufffd\r\n" },
      { at: 1.5, kind: "resize", cols: 120, rows: 40 },
      { at: 2.5, kind: "output", text: "end" },
    ]);
    assert.deepEqual(reader.head, { cols: 80, rows: 24, title: "web-1", user: "mia", began: new Date("2026-01-01T00:00:00Z") });
    assert.deepEqual([reader.closed, reader.full, reader.duration], [true, false, 2.5]);
  }
});

test("a recording that is still written plays to its last whole line", () => {
  const reader = read(HEAD, '[0, "o", "so far"]\n[0.1, "o", "pie');
  assert.equal(reader.events.length, 1);
  assert.equal(reader.closed, false);
});

test("what is no recording is refused, and says why", () => {
  for (const [file, why] of [
    ["<html>\n", /not JSON/],
    ['{"version": 2, "width": 80, "height": 24}\n', /no asciicast of version 3/],
    ['{"version": 3, "term": {"cols": 0, "rows": 24}}\n', /no asciicast of version 3/],
    [`${HEAD}[1, "o"]\n`, /no event/],
    [`${HEAD}[-1, "o", "x"]\n`, /no event/],
    [`${HEAD}["1", "o", "x"]\n`, /no event/],
    [`${HEAD}[1, "o", 7]\n`, /no event/],
    [HEAD + "x".repeat(2 ** 20 + 1), /too long/],
  ] as const) {
    assert.throws(() => read(file), (error) => error instanceof BadCast && why.test(error.message), file.slice(0, 40));
  }
  assert.throws(() => read("").head, BadCast);
});

test("a hostile recording's sizes, times, names and marks are bounded", () => {
  const { events, head, duration } = read(
    '{"version": 3, "term": {"cols": 1000000, "rows": 1000000}, "title": "a\\u202e\\nb", "timestamp": 1e300}\n',
    '# consoled {"user_id": "\\u0007mia"}\n[1e308, "r", "99999x99999"]\n[1e308, "m", "\\u001b[31m"]\n[0, "r", "axb"]\n[0, "zz", "?"]\n',
  );
  assert.deepEqual([head.cols, head.rows, head.title, head.user, head.began], [500, 200, "a b", "mia", null]);
  assert.deepEqual(events.map((event) => event.kind), ["resize", "mark"]);
  assert.ok(events[0]?.kind === "resize" && events[0].cols === 500);
  assert.ok(Number.isFinite(duration));
  assert.ok(events[1]?.kind === "mark" && !/\p{Cc}/u.test(events[1].label));
});

test("an endless recording fills no memory", () => {
  const reader = read(HEAD);
  const lines = '[0.001, "o", "x"]\n'.repeat(10_000);
  for (let i = 0; i < 50; i++) reader.read(lines);
  assert.equal(reader.events.length, MOST_EVENTS);
  assert.equal(reader.full, true);
});

test("few bytes that are much work for a terminal end the recording, text does not", () => {
  const reader = read(HEAD, '[0, "r", "500x200"]\n');
  const erasing = `[0.001, "o", "${"\\u001b[2J".repeat(1000)}"]\n`;
  for (let i = 0; i < 50; i++) reader.read(erasing);
  assert.equal(reader.full, true);
  assert.ok(reader.events.length <= 4 * MOST_WORK / (500 * 200 * 1000) + 2);
  const text = read(HEAD);
  for (let i = 0; i < 8000; i++) text.read(`[0.001, "o", "${"x".repeat(4000)}\\r\\n"]\n`);
  assert.equal(text.full, false);
});

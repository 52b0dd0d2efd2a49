import assert from "node:assert/strict";
import { test } from "node:test";
import { ack, confirm, parseControl } from "../src/protocol.js";

const BARE = { type: "hello", name: "", console: 0, session: "", resume: null, offset: 0, replay: 0, unproven: false };

test("a hello names the console, the session and its resume key, and where its output goes on", () => {
  const text = '{"type":"hello","session":"s","resume":"s.k","role":"writer","instance":{"uuid":"u","name":"web-1"},"console":1,"offset":9,"lost":2,"replay":4,"unproven":true}';
  assert.deepEqual(parseControl(text), { type: "hello", name: "web-1", console: 1, session: "s", resume: "s.k", offset: 9, replay: 4, unproven: true });
});

test("a hello without a name falls back to the uuid, and bad fields to harmless ones", () => {
  assert.deepEqual(parseControl('{"type":"hello","instance":{"uuid":"u"},"console":"x"}'), { ...BARE, name: "u" });
  assert.deepEqual(parseControl('{"type":"hello","instance":{"name":7}}'), BARE);
  assert.deepEqual(parseControl('{"type":"hello","session":1,"resume":"","offset":-1,"replay":0.5,"unproven":1}'), BARE);
  assert.deepEqual(parseControl(JSON.stringify({ type: "hello", resume: "k".repeat(10_000), offset: 1e300 })), BARE);
});

test("a notice is a line for the person, a warning or not", () => {
  assert.deepEqual(parseControl('{"type":"notice","text":"x"}'), { type: "notice", text: "x", warning: false });
  assert.deepEqual(parseControl('{"type":"notice","text":"x","kind":"warning"}'), { type: "notice", text: "x", warning: true });
  assert.deepEqual(parseControl('{"type":"notice","text":"x","kind":"later"}'), { type: "notice", text: "x", warning: false });
});

test("busy says who has the console since when, as far as the server tells", () => {
  const since = new Date("2026-11-21T04:00:00Z");
  assert.deepEqual(parseControl('{"type":"busy","user":"mia","since":"2026-11-21T04:00:00Z","takeover":true}'), { type: "busy", user: "mia", since, takeover: true });
  const nobody = { type: "busy", user: null, since: null, takeover: false };
  assert.deepEqual(parseControl('{"type":"busy","user":null,"since":null,"takeover":false}'), nobody);
  assert.deepEqual(parseControl('{"type":"busy","user":7,"since":"soon","takeover":"yes"}'), nobody);
});

test("what this page does not know is ignored", () => {
  for (const text of ["", "{", "null", "[]", "7", '{"type":"later"}', '{"type":"notice","text":1}']) {
    assert.equal(parseControl(text), null, text);
  }
});

test("an acknowledgement carries the cumulative count", () => {
  assert.deepEqual(JSON.parse(ack(7)), { type: "ack", bytes: 7 });
});

test("the person's confirmation carries nothing else", () => {
  assert.deepEqual(JSON.parse(confirm()), { type: "confirm" });
});

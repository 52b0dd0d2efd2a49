import assert from "node:assert/strict";
import { test } from "node:test";
import { ack, announcePaste, cancelPaste, confirm, handOver, parseControl } from "../src/protocol.js";

const BARE = { type: "hello", name: "", console: 0, shell: false, pty: false, session: "", resume: null, offset: 0, replay: 0, unproven: false, watches: false, countsPastes: false, breaks: false, linger: 0 };

test("a hello names the console, the session and its resume key, and where its output goes on", () => {
  const text = '{"type":"hello","session":"s","resume":"s.k","role":"writer","instance":{"uuid":"u","name":"web-1"},"console":1,"offset":9,"lost":2,"replay":4,"unproven":true,"paste_rate":11520}';
  assert.deepEqual(parseControl(text), { type: "hello", name: "web-1", console: 1, shell: false, pty: false, session: "s", resume: "s.k", offset: 9, replay: 4, unproven: true, watches: false, countsPastes: true, breaks: false, linger: 0 });
});

test("a hello says whether its person only watches", () => {
  assert.deepEqual(parseControl('{"type":"hello","role":"observer"}'), { ...BARE, watches: true });
  for (const role of ["writer", "Observer", 1, null]) assert.deepEqual(parseControl(JSON.stringify({ type: "hello", role })), BARE);
});

test("a hello says whether the console is a shell, which has a size", () => {
  assert.deepEqual(parseControl('{"type":"hello","console_type":"ssh"}'), { ...BARE, shell: true });
  assert.deepEqual(parseControl('{"type":"hello","kind":"pty"}'), { ...BARE, pty: true });
  for (const console_type of ["serial", "SSH", true]) assert.deepEqual(parseControl(JSON.stringify({ type: "hello", console_type })), BARE);
});

test("a hello without a name falls back to the uuid, and bad fields to harmless ones", () => {
  assert.deepEqual(parseControl('{"type":"hello","instance":{"uuid":"u"},"console":"x"}'), { ...BARE, name: "u" });
  assert.deepEqual(parseControl('{"type":"hello","instance":{"name":7}}'), BARE);
  assert.deepEqual(parseControl('{"type":"hello","session":1,"resume":"","offset":-1,"replay":0.5,"unproven":1}'), BARE);
  assert.deepEqual(parseControl(JSON.stringify({ type: "hello", resume: "k".repeat(10_000), offset: 1e300 })), BARE);
});

test("a notice is a line for the person, a warning or not", () => {
  assert.deepEqual(parseControl('{"type":"notice","text":"x"}'), { type: "notice", text: "x", warning: false, untilTyping: false });
  assert.deepEqual(parseControl('{"type":"notice","text":"x","kind":"warning"}'), { type: "notice", text: "x", warning: true, untilTyping: false });
  assert.deepEqual(parseControl('{"type":"notice","text":"x","kind":"later"}'), { type: "notice", text: "x", warning: false, untilTyping: false });
  assert.deepEqual(parseControl('{"type":"notice","text":"x","kind":"warning","until":"typing"}'), { type: "notice", text: "x", warning: true, untilTyping: true });
});

test("busy says who has the console since when, as far as the server tells", () => {
  const since = new Date("2026-11-21T04:00:00Z");
  assert.deepEqual(parseControl('{"type":"busy","user":"mia","since":"2026-11-21T04:00:00Z","takeover":true}'), { type: "busy", user: "mia", since, takeover: true, ask: false, force: false });
  const nobody = { type: "busy", user: null, since: null, takeover: false, ask: false, force: false };
  assert.deepEqual(parseControl('{"type":"busy","ask":true,"force":true}'), { ...nobody, ask: true, force: true });
  assert.deepEqual(parseControl('{"type":"busy","user":null,"since":null,"takeover":false}'), nobody);
  assert.deepEqual(parseControl('{"type":"busy","user":7,"since":"soon","takeover":"yes"}'), nobody);
});

test("viewers are those on the line, as far as they are names", () => {
  assert.deepEqual(parseControl('{"type":"viewers","writer":"mia","observers":["noa","rea"]}'), { type: "viewers", writer: "mia", observers: ["noa", "rea"] });
  const nobody = { type: "viewers", writer: null, observers: [] };
  assert.deepEqual(parseControl('{"type":"viewers","writer":null,"observers":[]}'), nobody);
  assert.deepEqual(parseControl('{"type":"viewers","writer":7,"observers":[1,"",null]}'), nobody);
  assert.deepEqual(parseControl('{"type":"viewers","observers":"noa"}'), nobody);
});

test("who asks, and who was asked, come with the seconds that there are", () => {
  assert.deepEqual(parseControl('{"type":"takeover","user":"noa","seconds":10}'), { type: "takeover", user: "noa", seconds: 10 });
  assert.deepEqual(parseControl('{"type":"takeover","user":null,"seconds":0}'), { type: "takeover", user: null, seconds: 0 });
  assert.deepEqual(parseControl('{"type":"waiting","user":null,"seconds":9.5}'), { type: "waiting", user: null, seconds: 9.5 });
  assert.deepEqual(parseControl('{"type":"waiting","user":"mia","seconds":1e99}'), { type: "waiting", user: "mia", seconds: 3600 });
  assert.deepEqual(parseControl('{"type":"waiting","user":"mia","seconds":"10"}'), { type: "waiting", user: "mia", seconds: 0 });
});

test("a paste is announced by its size, and the server says how far it is, or that it is over", () => {
  assert.deepEqual(JSON.parse(announcePaste(9)), { type: "paste", bytes: 9 });
  assert.deepEqual(JSON.parse(cancelPaste()), { type: "cancel" });
  assert.deepEqual(parseControl('{"type":"pasted","bytes":7}'), { type: "pasted", bytes: 7, dropped: false });
  assert.deepEqual(parseControl('{"type":"pasted","bytes":7,"dropped":0}'), { type: "pasted", bytes: 7, dropped: true });
  assert.deepEqual(parseControl('{"type":"pasted","bytes":-7,"dropped":"x"}'), { type: "pasted", bytes: 0, dropped: false });
});

test("handing over carries nothing else", () => {
  assert.deepEqual(JSON.parse(handOver()), { type: "handover" });
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

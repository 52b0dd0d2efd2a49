import assert from "node:assert/strict";
import { test } from "node:test";
import { ack, parseControl } from "../src/protocol.js";

test("a hello names the instance and its console", () => {
  const text = '{"type":"hello","session":"s","instance":{"uuid":"u","name":"web-1"},"console":1,"offset":0}';
  assert.deepEqual(parseControl(text), { type: "hello", name: "web-1", console: 1 });
});

test("a hello without a name falls back to the uuid, and bad fields to harmless ones", () => {
  assert.deepEqual(parseControl('{"type":"hello","instance":{"uuid":"u"},"console":"x"}'), { type: "hello", name: "u", console: 0 });
  assert.deepEqual(parseControl('{"type":"hello","instance":{"name":7}}'), { type: "hello", name: "", console: 0 });
});

test("what this page does not know is ignored", () => {
  for (const text of ["", "{", "null", "[]", "7", '{"type":"later"}', '{"type":"notice","text":1}']) {
    assert.equal(parseControl(text), null, text);
  }
});

test("an acknowledgement carries the cumulative count", () => {
  assert.deepEqual(JSON.parse(ack(7)), { type: "ack", bytes: 7 });
});

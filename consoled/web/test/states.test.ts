import assert from "node:assert/strict";
import { test } from "node:test";
import { ending, NO_TOKEN, plain, words } from "../src/states.js";

test("each state has its words", () => {
  assert.equal(words({ kind: "connecting" }), "Connecting");
  assert.equal(words({ kind: "connected", silent: true, held: false, watching: false }), "Connected, no output yet");
  assert.equal(words({ kind: "connected", silent: false, held: false, watching: false }), "Connected");
  assert.equal(words({ kind: "connected", silent: true, held: false, watching: true }), "Watching, no output yet");
  assert.equal(words({ kind: "connected", silent: false, held: false, watching: true }), "Watching");
  assert.equal(words({ kind: "waiting", user: "mia", seconds: 10 }), "Asked mia; waiting for the console");
  assert.equal(words({ kind: "waiting", user: null, seconds: 10 }), "Asked its user; waiting for the console");
  assert.equal(words({ kind: "ended", ending: ending(4411, "", true) }), "Ended: nothing was typed for too long");
  assert.equal(words({ kind: "reconnecting", ending: ending(1006, "", true) }), "Connection lost; reconnecting");
  assert.match(words({ kind: "ended", ending: NO_TOKEN }), /^Ended: This page needs a console URL with a token$/);
});

test("every close code of the protocol has a reason and advice of its own words", () => {
  const codes = [1000, 1001, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 4401, 4403, 4409, 4410, 4411, 4412, 4413, 4414];
  for (const code of codes) {
    const { reason, advice } = ending(code, "", true);
    assert.doesNotMatch(reason, /\d/, `code ${code}`);
    assert.match(advice, /\.$/, `code ${code}`);
  }
});

test("the server's own reason wins, on one line and without control characters", () => {
  assert.equal(ending(4409, "alice has it open.", true).reason, "alice has it open");
  assert.equal(ending(4409, "a\u001b[31m\nb\u202Ec", true).reason, "a [31m b c");
  assert.equal(ending(4409, " \n", true).reason, "another session is using this console");
});

test("reconnecting is offered except where this page's token cannot help", () => {
  for (const code of [4401, 4403]) assert.equal(ending(code, "", true).retry, false);
  for (const code of [1000, 1001, 1006, 1013, 4409, 4410, 4999]) assert.equal(ending(code, "", true).retry, true);
});

test("a connection that never opened is told apart from one that was lost", () => {
  assert.equal(ending(1006, "", true).reason, "the connection was lost");
  assert.match(ending(1006, "", false).reason, /could not be reached/);
});

test("an unknown code is named", () => {
  assert.match(ending(4999, "", true).reason, /4999/);
});

test("text from elsewhere is cut to a bounded length", () => {
  assert.equal(plain("x".repeat(1000), 10), `${"x".repeat(9)}…`);
});

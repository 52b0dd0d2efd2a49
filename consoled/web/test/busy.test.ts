import assert from "node:assert/strict";
import { test } from "node:test";
import { busyEnding, timeWords } from "../src/busy.js";
import type { Busy } from "../src/protocol.js";
import { ending } from "../src/states.js";

const NOW = new Date(2026, 10, 21, 9, 30);
const EARLIER = new Date(2026, 10, 21, 6, 5);
const REFUSED = ending(4409, "This console is in use. Try again later.", true);

function told(busy: Partial<Busy>): ReturnType<typeof busyEnding> {
  return busyEnding(REFUSED, { type: "busy", user: null, since: null, takeover: false, ask: false, force: false, ...busy }, NOW, "en-GB");
}

test("a time of today is a time of day, another has its date", () => {
  assert.equal(timeWords(EARLIER, NOW, "en-GB"), "06:05");
  assert.match(timeWords(new Date(2026, 10, 20, 23, 59), NOW, "en-GB"), /^20 Nov 2026, 23:59$/);
});

test("another user's session is told by name and time, and offers nothing", () => {
  const { reason, claims, advice } = told({ user: "mia", since: EARLIER });
  assert.equal(reason, "user mia has had this console open since 06:05");
  assert.equal(claims, undefined);
  assert.equal(advice, REFUSED.advice);
});

test("the own other window is offered to be taken over", () => {
  const { reason, claims, code } = told({ user: "mia", since: EARLIER, takeover: true });
  assert.equal(reason, "you have had this console open in another window since 06:05");
  assert.deepEqual(claims, ["takeover"]);
  assert.equal(code, 4409);
});

test("another user's session may be asked for, or taken, as the server says", () => {
  for (const [busy, claims] of [
    [{ ask: true }, ["ask"]],
    [{ force: true }, ["force"]],
    [{ ask: true, force: true }, ["ask", "force"]],
  ] as const) {
    const { reason, advice, claims: offered } = told({ user: "mia", ...busy });
    assert.equal(reason, "user mia has had this console open");
    assert.deepEqual(offered, claims);
    assert.notEqual(advice, REFUSED.advice);
  }
});

test("what may be done about a console does not depend on knowing who has it", () => {
  const { reason, claims } = told({ ask: true });
  assert.equal(reason, REFUSED.reason);
  assert.deepEqual(claims, ["ask"]);
});

test("where the server names nobody, its own words stay", () => {
  assert.equal(told({}), REFUSED);
  assert.equal(told({ user: "\u202e \n" }), REFUSED);
});

test("a hostile name stays on its line and within bounds", () => {
  const { reason } = told({ user: `a\u001b[31m\n${"b".repeat(500)}` });
  assert.doesNotMatch(reason, /\p{Cc}/u);
  assert.ok(reason.length < 200);
});

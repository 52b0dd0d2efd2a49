import assert from "node:assert/strict";
import { test } from "node:test";
import { ACK_STEP, Credit } from "../src/flow.js";

test("when everything is drawn, the cumulative count is acknowledged", () => {
  const credit = new Credit();
  credit.received(10);
  assert.equal(credit.drawn(10), 10);
  credit.received(5);
  assert.equal(credit.drawn(5), 15);
  assert.equal(credit.pending, 0);
});

test("while more is waiting, only each step of progress is acknowledged", () => {
  const credit = new Credit();
  credit.received(3 * ACK_STEP);
  assert.equal(credit.drawn(ACK_STEP - 1), null);
  assert.equal(credit.drawn(1), ACK_STEP);
  assert.equal(credit.drawn(1), null);
  assert.equal(credit.drawn(ACK_STEP - 1), 2 * ACK_STEP);
  assert.equal(credit.pending, ACK_STEP);
});

test("nothing new is never acknowledged twice", () => {
  const credit = new Credit();
  assert.equal(credit.drawn(0), null);
});

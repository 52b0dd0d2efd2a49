import assert from "node:assert/strict";
import { test } from "node:test";
import { breakSections, sysrqSections, type BreakActions } from "../src/break-menu.js";
import { parseControl, sendBreak } from "../src/protocol.js";
import { DANGEROUS, HARMLESS } from "../src/sysrq.js";

function actions(more: Partial<BreakActions> = {}): { on: BreakActions; log: string[] } {
  const log: string[] = [];
  const on: BreakActions = {
    live: true,
    allowed: true,
    send: () => log.push("break"),
    choose: () => log.push("choose"),
    sendSysrq: ({ key }) => log.push(key),
    ...more,
  };
  return { on, log };
}

test("a hello says whether its person may send a BREAK", () => {
  const may = (value: unknown): unknown => {
    const hello = parseControl(JSON.stringify({ type: "hello", breaks: value }));
    return hello?.type === "hello" && hello.breaks;
  };
  assert.equal(may(true), true);
  for (const other of [undefined, false, 1, "true", null]) assert.equal(may(other), false);
});

test("a BREAK carries nothing else, a SysRq its key", () => {
  assert.deepEqual(JSON.parse(sendBreak(null)), { type: "break" });
  assert.deepEqual(JSON.parse(sendBreak("h")), { type: "break", sysrq: "h" });
});

test("the menu has no entries for somebody who may not", () => {
  assert.deepEqual(breakSections(actions({ allowed: false }).on), []);
});

test("the entries send, and open the menu of SysRq, while the console is live", () => {
  const { on, log } = actions();
  const items = breakSections(on).flatMap((section) => section.items);
  for (const item of items) item.run();
  assert.deepEqual(log, ["break", "choose"]);
  assert.deepEqual(items.map((item) => item.enabled?.()), [true, true]);
  const dead = breakSections(actions({ live: false }).on).flatMap((section) => section.items);
  assert.deepEqual(dead.map((item) => item.enabled?.()), [false, false]);
});

test("each SysRq has one entry, found by its key, and those that stop things say what they do", () => {
  const { on, log } = actions();
  const items = sysrqSections(on).flatMap((section) => section.items);
  for (const item of items) item.run();
  const keys = [...HARMLESS, ...DANGEROUS].map(({ key }) => key);
  assert.deepEqual(log, keys);
  assert.equal(new Set(keys).size, keys.length);
  for (const key of keys) assert.match(key, /^[0-9b-z]$/);
  for (const [at, item] of items.entries()) assert.ok(item.label.startsWith(`${keys[at]}  `));
  for (const { danger } of HARMLESS) assert.equal(danger, undefined);
  for (const { danger } of DANGEROUS) assert.ok(danger !== undefined && danger.length > 20);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { companyOf } from "../src/company.js";
import type { Viewers } from "../src/protocol.js";

function viewers(writer: string | null, ...observers: string[]): Viewers {
  return { type: "viewers", writer, observers };
}

test("whoever types is told who watches, and nothing while nobody does", () => {
  assert.equal(companyOf(viewers("mia"), false), null);
  assert.deepEqual(companyOf(viewers("mia", "noa"), false), { summary: "noa is watching", names: ["noa"] });
  assert.deepEqual(companyOf(viewers("mia", "noa", "rea"), false), { summary: "2 watching", names: ["noa", "rea"] });
});

test("whoever watches is told who has the console, and does not count themselves", () => {
  assert.equal(companyOf(viewers(null, "noa"), true), null);
  assert.equal(companyOf(viewers(null), true), null);
  assert.equal(companyOf(viewers(null, "noa", "rea"), true)?.summary, "1 more watching");
  assert.equal(companyOf(viewers("mia", "noa"), true)?.summary, "mia has the console");
  const { summary, names } = companyOf(viewers("mia", "noa", "rea", "ada"), true) ?? { summary: "", names: [] };
  assert.equal(summary, "mia has the console, 2 more watching");
  assert.deepEqual(names, ["mia has the console", "noa is watching", "rea is watching", "ada is watching"]);
});

test("hostile names stay on their line and within bounds", () => {
  const company = companyOf(viewers("\u202e", `a\u001b[31m\n${"b".repeat(500)}`), true);
  assert.equal(company?.summary, "somebody has the console");
  assert.ok((company?.names[1] ?? "").length < 130);
  assert.doesNotMatch(company?.names.join("") ?? "", /\p{Cc}/u);
});

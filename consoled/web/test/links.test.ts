import assert from "node:assert/strict";
import { test } from "node:test";
import { allowedLink } from "../src/links.js";

test("only http and https addresses may be opened", () => {
  assert.equal(allowedLink("https://example.org/a")?.href, "https://example.org/a");
  assert.equal(allowedLink("http://[::1]:8080/")?.host, "[::1]:8080");
  const refused = ["javascript:alert(1)", " javascript:alert(1)", "JAVASCRIPT:x", "data:text/html,x", "file:///etc/passwd", "vbscript:x", "blob:https://x/1", "ssh://h", "/relative", "", "https://"];
  for (const address of refused) assert.equal(allowedLink(address), null, address);
});

test("a lookalike host shows in its Punycode form", () => {
  assert.equal(allowedLink("https://ex\u0430mple.org/")?.host, "xn--exmple-4nf.org");
});

test("an endless address is refused", () => {
  assert.equal(allowedLink(`https://x/${"a".repeat(3000)}`), null);
});

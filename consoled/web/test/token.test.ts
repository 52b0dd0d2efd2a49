import assert from "node:assert/strict";
import { randomFillSync } from "node:crypto";
import { test } from "node:test";
import { newSlot, slotOf, socketUrl, tokenFrom, TokenKeeper } from "../src/token.js";

const fill = (bytes: Uint8Array<ArrayBuffer>): void => void randomFillSync(bytes);

const PLAIN = { resume: null, since: null, claim: null };

const refusing = {
  getItem: (): string => {
    throw new Error("blocked");
  },
  setItem: (): void => {
    throw new Error("blocked");
  },
};

function shelf(): Pick<Storage, "getItem" | "setItem"> & { items: Map<string, string> } {
  const items = new Map<string, string>();
  return {
    items,
    getItem: (name) => items.get(name) ?? null,
    setItem: (name, value) => void items.set(name, value),
  };
}

test("the token comes from the query, the last one wins, as on the server", () => {
  assert.equal(tokenFrom("?token=a"), "a");
  assert.equal(tokenFrom("?token=a&x=1&token=b%2Bc"), "b+c");
  assert.equal(tokenFrom("?host=h"), null);
  assert.equal(tokenFrom("?token="), null);
  assert.equal(tokenFrom(""), null);
});

test("the socket is at the page's own origin and path, whatever the query said", () => {
  const place = { protocol: "http:", host: "h:6083", pathname: "/p/serial.html", search: "?host=evil&path=x" };
  assert.equal(socketUrl(place, "a b&c", PLAIN), "ws://h:6083/p/serial.html?token=a%20b%26c");
  assert.equal(socketUrl({ ...place, protocol: "https:", host: "[::1]" }, "t", PLAIN), "wss://[::1]/p/serial.html?token=t");
});

test("a connection names the session to come back to, and where in it; or that it takes over", () => {
  const place = { protocol: "http:", host: "h", pathname: "/" };
  const query = (wish: Partial<typeof PLAIN> | object): string => socketUrl(place, "t", { ...PLAIN, ...wish }).split("?")[1] ?? "";
  assert.equal(query({ resume: "a.b+c", since: 7 }), "token=t&resume=a.b%2Bc&since=7");
  assert.equal(query({ resume: "k", since: 0 }), "token=t&resume=k&since=0");
  assert.equal(query({ resume: "k" }), "token=t&resume=k");
  assert.equal(query({ since: 7 }), "token=t");
  assert.equal(query({ claim: "takeover" }), "token=t&takeover=1");
  assert.equal(query({ claim: "ask" }), "token=t&takeover=1");
  assert.equal(query({ claim: "force" }), "token=t&takeover=force");
});

test("a reload of the same frame finds its token, another frame does not", () => {
  const storage = shelf();
  const [one, two] = [newSlot(fill), newSlot(fill)];
  new TokenKeeper(storage).keep(one, "first");
  new TokenKeeper(storage).keep(two, "second");
  const later = new TokenKeeper(storage);
  assert.equal(later.find(one), "first");
  assert.equal(later.find(two), "second");
  assert.equal(later.find(newSlot(fill)), null);
});

test("where the browser refuses storage, memory keeps the token", () => {
  for (const storage of [null, refusing]) {
    const keeper = new TokenKeeper(storage);
    const slot = newSlot(fill);
    assert.equal(keeper.find(slot), null);
    keeper.keep(slot, "t");
    assert.equal(keeper.find(slot), "t");
  }
});

test("a history state that is not ours names no slot", () => {
  const slot = newSlot(fill);
  assert.equal(slotOf({ slot }), slot);
  for (const state of [null, undefined, 1, "x", {}, { slot: 1 }, { slot: "../x" }]) assert.equal(slotOf(state), null);
});

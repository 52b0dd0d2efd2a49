import assert from "node:assert/strict";
import { test } from "node:test";
import { contentUrl, load, MOST_BYTES, NotLoaded, type Fetch } from "../src/replay-load.js";

const HEAD = '{"version": 3, "term": {"cols": 80, "rows": 24}}\n';
const TOKEN = "t".repeat(43);

function answering(response: Response, asked: [string, RequestInit][] = []): Fetch {
  return (url, options) => {
    asked.push([url, options]);
    return Promise.resolve(response);
  };
}

function failure(fetcher: Fetch, token = TOKEN): Promise<NotLoaded> {
  return load(fetcher, "http://console.test/replay/content", token, () => undefined).then(
    () => assert.fail("it was loaded"),
    (error) => (assert.ok(error instanceof NotLoaded), error),
  );
}

test("the recording is beside the page, wherever that is", () => {
  assert.equal(contentUrl("http://console.test/replay.html"), "http://console.test/replay/content");
  assert.equal(contentUrl("https://console.test/a/replay.html?x#y"), "https://console.test/a/replay/content");
});

test("the token goes in a header, and is not in the address", async () => {
  const asked: [string, RequestInit][] = [];
  const { reader, cut } = await load(answering(new Response(`${HEAD}[1, "o", "x"]\n`), asked), "http://console.test/replay/content", TOKEN, () => undefined);
  assert.equal(reader.events.length, 1);
  assert.equal(cut, false);
  const [[url, options]] = asked as [[string, RequestInit]];
  assert.ok(!url.includes(TOKEN));
  assert.deepEqual(options.headers, { Authorization: `Bearer ${TOKEN}` });
  assert.deepEqual([options.credentials, options.redirect], ["omit", "error"]);
});

test("a refusal is told in the server's words, and whether another try can help", async () => {
  const refused = (status: number, words: string, type = "text/plain; charset=utf-8"): Fetch =>
    answering(new Response(words, { status, headers: { "Content-Type": type } }));
  for (const [status, again] of [[401, false], [404, false], [409, true], [503, true]] as const) {
    const error = await failure(refused(status, "Some\nwords.\n"));
    assert.deepEqual([error.message, error.again, error.status], ["Some words.", again, status]);
  }
  assert.match((await failure(refused(502, "<html>", "text/html"))).message, /status 502/);
});

test("a connection that breaks, before or within, can be tried again", async () => {
  const error = await failure(() => Promise.reject(new TypeError("failed")));
  assert.deepEqual([error.message, error.again], ["the server could not be reached", true]);
  const broken = new ReadableStream({ pull: (controller) => controller.error(new TypeError("gone")) });
  assert.equal((await failure(answering(new Response(broken)))).message, "the connection was lost");
});

test("what is no token is sent to nobody", async () => {
  const error = await failure(() => assert.fail("it was asked"), "\ufffd");
  assert.match(error.message, /not valid/);
});

test("an endless answer is cut off", async () => {
  const line = new TextEncoder().encode(`# ${"x".repeat(65_533)}\n`);
  let sent = 0;
  let cancelled = false;
  const endless = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode(HEAD)),
    pull: (controller) => {
      sent += line.length;
      controller.enqueue(line);
    },
    cancel: () => {
      cancelled = true;
    },
  });
  const { cut, reader } = await load(answering(new Response(endless)), "http://console.test/replay/content", TOKEN, () => undefined);
  assert.equal(cut, true);
  assert.equal(reader.head.cols, 80);
  assert.ok(sent < MOST_BYTES + 4 * line.length);
  assert.equal(cancelled, true);
});

/** Fetches a recording with its token, in pieces and not without end. */

import { CastReader } from "./replay-cast.js";
import { plain } from "./states.js";

/** Bytes that are fetched at most: a larger recording is played from its beginning so far. */
export const MOST_BYTES = 32 * 1024 * 1024;

const TOKEN = /^[\w-]{1,512}$/;

/** Why there is no recording, in the server's words or ours. */
export class NotLoaded extends Error {
  /**
   * @param again whether another try can help.
   * @param status of the server's answer; 0 where there is none.
   */
  constructor(
    message: string,
    readonly again: boolean,
    readonly status: number,
  ) {
    super(message);
  }
}

/** What came, and whether there is more of it. */
export interface Loaded {
  readonly reader: CastReader;
  readonly cut: boolean;
}

/** What is needed of the browser's fetch. */
export type Fetch = (url: string, options: RequestInit) => Promise<Response>;

/** Where the recording is: beside the page, whatever its address. */
export function contentUrl(page: string): string {
  return new URL("replay/content", page).href;
}

/**
 * Fetches and reads a recording.
 *
 * @param url of {@link contentUrl}; the token is not in it, but in a header.
 * @param progress told of the bytes that have come, and how many there are (0: not known).
 * @throws NotLoaded the server could not be reached, or gave nothing.
 * @throws BadCast of the reader.
 */
export async function load(
  fetcher: Fetch,
  url: string,
  token: string,
  progress: (bytes: number, all: number) => void,
): Promise<Loaded> {
  const response = await answer(fetcher, url, token);
  const body = response.body?.getReader();
  if (body === undefined) throw new NotLoaded("the server sent nothing", true, response.status);
  const reader = new CastReader();
  const decoder = new TextDecoder();
  const all = Number(response.headers.get("content-length")) || 0;
  let bytes = 0;
  while (bytes < MOST_BYTES && !reader.full) {
    const { done, value } = await next(body);
    if (done || value === undefined) return { reader, cut: false };
    const piece = value.subarray(0, MOST_BYTES - bytes);
    bytes += piece.length;
    reader.read(decoder.decode(piece, { stream: true }));
    progress(bytes, all);
  }
  void body.cancel().catch(() => undefined);
  return { reader, cut: bytes < all || all === 0 };
}

async function answer(fetcher: Fetch, url: string, token: string): Promise<Response> {
  // What is no token is asked of nobody: some of it cannot be sent in a header.
  if (!TOKEN.test(token)) throw new NotLoaded("this replay link is not valid; ask for a new one", false, 0);
  let response: Response;
  try {
    response = await fetcher(url, {
      headers: { Authorization: `Bearer ${token}` },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
  } catch {
    throw new NotLoaded("the server could not be reached", true, 0);
  }
  if (response.ok) return response;
  const words = response.headers.get("content-type")?.startsWith("text/plain") ? await response.text() : "";
  const reason = plain(words).trim() || `the server refused it (status ${response.status})`;
  throw new NotLoaded(reason, response.status === 409 || response.status >= 500, response.status);
}

async function next(
  body: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>,
): Promise<ReadableStreamReadResult<Uint8Array<ArrayBuffer>>> {
  try {
    return await body.read();
  } catch {
    throw new NotLoaded("the connection was lost", true, 0);
  }
}

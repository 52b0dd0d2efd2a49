/** The state of the connection and its words. Codes: docs/protocol.rst, RFC 6455 section 7.4. */

import { STOPPED } from "./schedule.js";

/** What a person may do about a console that somebody has: the own other window, or another. */
export type Claim = "takeover" | "ask" | "force";

/** How a connection ended, and what the person can do. */
export interface Ending {
  readonly code: number;
  /** Completes "Ended: ...". */
  readonly reason: string;
  readonly advice: string;
  /** Whether reconnecting can help. */
  readonly retry: boolean;
  readonly claims?: readonly Claim[];
}

export type State =
  | { readonly kind: "connecting" }
  /** The console was asked of the user who has it; in so many seconds it is this person's. */
  | { readonly kind: "waiting"; readonly user: string | null; readonly seconds: number }
  | {
      readonly kind: "connected";
      /** Whether the guest has printed nothing yet. */
      readonly silent: boolean;
      /** Whether typing is held back until it prints or the person confirms. */
      readonly held: boolean;
      /** Whether the person watches only. */
      readonly watching: boolean;
    }
  /** The connection broke, and is dialled again; `ending` says how it broke. */
  | { readonly kind: "reconnecting"; readonly ending: Ending }
  | { readonly kind: "ended"; readonly ending: Ending };

/** The state as the page says it. */
export function words(state: State): string {
  switch (state.kind) {
    case "connecting":
      return "Connecting";
    case "waiting":
      return `Asked ${userWords(state.user)}; waiting for the console`;
    case "connected":
      return `${state.watching ? "Watching" : "Connected"}${state.silent ? ", no output yet" : ""}`;
    case "reconnecting":
      return state.ending.code === STOPPED
        ? `${state.ending.reason}; waiting for its start`
        : "Connection lost; reconnecting";
    case "ended":
      return `Ended: ${state.ending.reason}`;
  }
}

type Meaning = readonly [reason: string, advice: string];

const AGAIN = "Reconnect to try again.";
const NEW_URL = "Get a new console URL where you got this one (dashboard, client or API), and open it.";

const MEANINGS: ReadonlyMap<number, Meaning> = new Map<number, Meaning>([
  [1000, ["the console was closed", "The instance may have been stopped or restarted. Reconnect once it runs."]],
  [1001, ["the server is restarting", "Reconnect in a few seconds."]],
  [1002, ["the browser and the server did not understand each other", AGAIN]],
  [1003, ["the server refused what was sent", AGAIN]],
  [1005, ["the server closed the connection", AGAIN]],
  [1006, ["the connection was lost", "Check your network, then reconnect."]],
  [1007, ["the server refused what was sent", AGAIN]],
  [1008, ["the server refused the connection", AGAIN]],
  [1009, ["too much was sent at once", "Reconnect, and paste in smaller pieces."]],
  [1011, ["the server had an internal error", "Reconnect; if it ends again, tell your operator the time."]],
  [1012, ["the server is restarting", "Reconnect in a few seconds."]],
  [1013, ["the server is overloaded", "Try again in a few seconds."]],
  [4401, ["the console URL is no longer valid", NEW_URL]],
  [4403, ["you are not allowed to open this console", "Ask the project's owner or your operator for access."]],
  [4409, ["another session is using this console", "Reconnect once it is free."]],
  [4410, ["the console was taken over, or an operator disconnected you", "Reconnect if you still need it."]],
  [4411, ["nothing was typed for too long", "Reconnect to go on."]],
  [4412, ["the session reached its longest time", "Reconnect to start a new one."]],
  [4413, ["the instance is stopped", "Start the instance, then reconnect."]],
  [4414, ["this browser was too slow for the guest's output", AGAIN]],
]);

/** The codes after which this page's token cannot open the console. */
const FINAL: ReadonlySet<number> = new Set([4401, 4403]);

/**
 * What a close means.
 *
 * @param code the close event's code.
 * @param reason the server's own words; where there are any, they win.
 * @param opened whether the WebSocket had ever opened.
 * @param shell whether the console was a shell, which ends when its person says so.
 */
export function ending(code: number, reason: string, opened: boolean, shell = false): Ending {
  const [meant, advice] = shell && code === 1000
    ? ["the shell has ended", "Reconnect for another one."]
    : code === 1006 && !opened
      ? ["the server could not be reached, or refused this page",
         "Check your network and that you use the server's usual address, then reconnect."]
      : (MEANINGS.get(code) ?? [`the server closed the connection (code ${code})`, AGAIN]);
  return { code, reason: sentencePart(reason) || meant, advice, retry: !FINAL.has(code) };
}

/** The page was opened without a token, so there is nothing to connect with. */
export const NO_TOKEN: Ending = {
  code: 0,
  reason: "This page needs a console URL with a token",
  advice: NEW_URL,
  retry: false,
};

/** The guest writes faster than the page draws, over a subprotocol without flow control. */
export const FLOODED: Ending = {
  code: 0,
  reason: "the guest wrote faster than this browser can draw",
  advice: AGAIN,
  retry: true,
};

/** A user's name in a sentence; "its user" where it is not known. */
export function userWords(user: string | null): string {
  return plain(user ?? "", 100).trim() || "its user";
}

function sentencePart(text: string): string {
  return plain(text).trim().replace(/\.$/, "");
}

/**
 * Text from elsewhere, safe to show on one line: no control characters, no bidirectional
 * overrides, a bounded length.
 *
 * @param most the longest result, in UTF-16 units.
 */
export function plain(text: string, most = 300): string {
  const clean = text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u061C\u200B-\u200F\u202A-\u202E\u2066-\u2069\uFEFF]+/gu, " ");
  return clean.length > most ? `${clean.slice(0, most - 1)}…` : clean;
}

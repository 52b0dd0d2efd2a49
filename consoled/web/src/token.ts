/**
 * The token's way through the page: out of the address bar, into this tab's sessionStorage.
 *
 * It never reaches localStorage, the DOM or a log.
 */

import type { Claim } from "./states.js";

/** What is needed of sessionStorage, which browsers may refuse to a framed page. */
export type Shelf = Pick<Storage, "getItem" | "setItem">;

const SLOT = /^[0-9a-f]{32}$/;

/**
 * The token of a page URL's query; the last one wins, as on the server.
 *
 * @param search `location.search`.
 */
export function tokenFrom(search: string): string | null {
  return new URLSearchParams(search).getAll("token").pop() || null;
}

/** What a connection asks for besides the console. */
export interface Wish {
  /** The key of the session to come back to, or null. */
  readonly resume: string | null;
  /** The position in that session's output, or null to be shown all that is kept. */
  readonly since: number | null;
  /** What the person does about another session that has the console, or null. */
  readonly claim: Claim | null;
}

/**
 * Where the WebSocket is: the page's own origin and path, whatever the query said.
 *
 * @param place `location`, or the parts of it.
 */
export function socketUrl(
  place: Pick<Location, "protocol" | "host" | "pathname">,
  token: string,
  wish: Wish,
): string {
  const scheme = place.protocol === "https:" ? "wss:" : "ws:";
  let query = `token=${encodeURIComponent(token)}`;
  if (wish.resume !== null) {
    query += `&resume=${encodeURIComponent(wish.resume)}`;
    if (wish.since !== null) query += `&since=${wish.since}`;
  }
  if (wish.claim !== null) query += `&takeover=${wish.claim === "force" ? "force" : "1"}`;
  return `${scheme}//${place.host}${place.pathname}?${query}`;
}

/**
 * Keeps tokens by slot. sessionStorage is shared by all frames of one origin in a tab, so each
 * frame's history entry names a slot of its own: two consoles in one dashboard stay apart.
 */
export class TokenKeeper {
  readonly #memory = new Map<string, string>();

  /** @param shelf this tab's sessionStorage, or null where the browser refuses it. */
  constructor(private readonly shelf: Shelf | null) {}

  /** Puts a token into the slot; in memory alone if the shelf refuses. */
  keep(slot: string, token: string): void {
    this.#memory.set(slot, token);
    try {
      this.shelf?.setItem(name(slot), token);
    } catch {
      // Blocked or full: memory serves until the page is left.
    }
  }

  /** The token of the slot, or null. */
  find(slot: string): string | null {
    const kept = this.#memory.get(slot);
    if (kept !== undefined) return kept;
    try {
      return this.shelf?.getItem(name(slot)) ?? null;
    } catch {
      return null;
    }
  }
}

/** The slot that a history entry's state names, or null. */
export function slotOf(state: unknown): string | null {
  if (typeof state !== "object" || state === null || !("slot" in state)) return null;
  return typeof state.slot === "string" && SLOT.test(state.slot) ? state.slot : null;
}

/**
 * A name for a new slot.
 *
 * @param fill fills bytes at random.
 */
export function newSlot(fill: (bytes: Uint8Array<ArrayBuffer>) => void): string {
  const bytes = new Uint8Array(16);
  fill(bytes);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function name(slot: string): string {
  return `consoled.token.${slot}`;
}

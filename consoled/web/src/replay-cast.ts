/**
 * Reads a recording: asciicast v3 with consoled's comments (docs/recording.rst), line by line as
 * it arrives. A file may say anything, so everything is bounded and nothing is taken unseen.
 */

import { Sieve } from "./replay-sieve.js";
import { plain } from "./states.js";

/** Something that happened, at so many seconds from the beginning. */
export type CastEvent =
  | { readonly at: number; readonly kind: "output"; readonly text: string }
  | { readonly at: number; readonly kind: "resize"; readonly cols: number; readonly rows: number }
  | { readonly at: number; readonly kind: "mark"; readonly label: string };

/** What a recording says of itself. */
export interface CastHead {
  readonly cols: number;
  readonly rows: number;
  /** What it is a recording of, fit for one line. */
  readonly title: string;
  /** Whose session it was, or "". */
  readonly user: string;
  /** When it began, or null. */
  readonly began: Date | null;
}

/** A recording that cannot be played; the message completes "Cannot play: ...". */
export class BadCast extends Error {}

/** The most events that are kept: a few hours of a busy console. */
export const MOST_EVENTS = 400_000;
/** The player's work for all that is kept, in characters printed: a few seconds of its time. */
export const MOST_WORK = 5e7;
/** Characters of a line at most; those of consoled stay below 32 Ki. */
const LONGEST_LINE = 1 << 20;
const MOST_COLS = 500;
const MOST_ROWS = 200;
/** Seconds: a hundred days. */
const LONGEST = 8_640_000;

/** Takes a recording's text in pieces. */
export class CastReader {
  readonly events: CastEvent[] = [];
  #head: CastHead | null = null;
  #rest = "";
  #at = 0;
  #closed = false;
  #full = false;
  readonly #sieve = new Sieve();

  /** @throws BadCast nothing has come, or not even a beginning. */
  get head(): CastHead {
    if (this.#head === null) throw new BadCast("it is no asciicast of version 3");
    return this.#head;
  }

  /** Whether the closing line was there: the session is over, and nothing is cut off. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Whether there is more than this page plays; nothing further is taken. */
  get full(): boolean {
    return this.#full;
  }

  /** Seconds from the beginning to the last event. */
  get duration(): number {
    return this.#at;
  }

  /**
   * Takes the next piece; what comes after the last line break waits for its end.
   *
   * @throws BadCast it is no recording.
   */
  read(piece: string): void {
    const lines = (this.#rest + piece).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#line(line);
    if (this.#rest.length > LONGEST_LINE) throw new BadCast("a line of it is too long");
  }

  #line(line: string): void {
    if (this.#full || line.trim() === "") return;
    if (line.startsWith("#")) this.#comment(line);
    else if (this.#head === null) this.#begin(headOf(parsed(line)));
    else this.#event(parsed(line));
  }

  #begin(head: CastHead): void {
    this.#head = head;
    this.#sieve.cells = head.cols * head.rows;
  }

  #comment(line: string): void {
    if (line.startsWith("# end ")) this.#closed = true;
    if (this.#head !== null && line.startsWith("# consoled ")) {
      this.#head = { ...this.#head, ...factsOf(parsed(line.slice("# consoled ".length))) };
    }
  }

  #event(value: unknown): void {
    if (!Array.isArray(value) || value.length !== 3) throw new BadCast("a line of it is no event");
    const [interval, code, data] = value as unknown[];
    if (typeof interval !== "number" || !(interval >= 0) || typeof data !== "string") {
      throw new BadCast("a line of it is no event");
    }
    this.#at = Math.min(this.#at + interval, LONGEST);
    const event = this.#made(code, data);
    if (event !== null) this.events.push(event);
    if (this.events.length >= MOST_EVENTS || this.#sieve.work >= MOST_WORK) this.#full = true;
  }

  #made(code: unknown, data: string): CastEvent | null {
    const at = this.#at;
    switch (code) {
      case "o": {
        const text = this.#sieve.clean(data);
        return text === "" ? null : { at, kind: "output", text };
      }
      case "r": {
        const size = /^(\d{1,5})x(\d{1,5})$/.exec(data);
        return size === null ? null : this.#resize(at, bounded(Number(size[1]), Number(size[2])));
      }
      case "m":
        return { at, kind: "mark", label: plain(data, 200).trim() || "mark" };
      default:
        // What was typed is in the output where the guest echoed it; other kinds are passed over.
        return null;
    }
  }

  #resize(at: number, size: { cols: number; rows: number }): CastEvent {
    this.#sieve.cells = size.cols * size.rows;
    return { at, kind: "resize", ...size };
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new BadCast("a line of it is not JSON");
  }
}

function headOf(value: unknown): CastHead {
  const head = record(value);
  const term = record(head.term);
  if (head.version !== 3 || !isSize(term.cols) || !isSize(term.rows)) {
    throw new BadCast("it is no asciicast of version 3");
  }
  return {
    ...bounded(term.cols, term.rows),
    title: typeof head.title === "string" ? plain(head.title, 100).trim() : "",
    user: "",
    began: typeof head.timestamp === "number" ? dateOf(head.timestamp) : null,
  };
}

function factsOf(value: unknown): Pick<CastHead, "user"> {
  const { user_id } = record(value);
  return { user: typeof user_id === "string" ? plain(user_id, 100).trim() : "" };
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function isSize(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0;
}

function bounded(cols: number, rows: number): { cols: number; rows: number } {
  const within = (size: number, most: number): number => Math.min(most, Math.max(1, size));
  return { cols: within(cols, MOST_COLS), rows: within(rows, MOST_ROWS) };
}

function dateOf(seconds: number): Date | null {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? null : date;
}

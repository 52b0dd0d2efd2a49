/** Finding words in what a recording's guest printed. */

import type { CastEvent } from "./replay-cast.js";
import { lastAtMost } from "./replay-timeline.js";

/** A place where the words stand. */
export interface Hit {
  /** When they were complete, in seconds of the session. */
  readonly at: number;
  readonly before: string;
  readonly match: string;
  readonly after: string;
}

/** What is found; `more` says that there are further ones. */
export interface Found {
  readonly hits: readonly Hit[];
  readonly more: boolean;
}

/** The most hits that are listed. */
export const MOST_HITS = 500;
/** Characters of the line that stand on each side of a hit. */
const AROUND = 40;

/** The text of a recording without colours and movements, and when each part of it came. */
export class SearchText {
  #text = "";
  readonly #starts: number[] = [];
  readonly #moments: number[] = [];

  constructor(events: readonly CastEvent[]) {
    const kept: string[] = [];
    let length = 0;
    for (const event of events) {
      if (event.kind !== "output") continue;
      const words = wordsOf(event.text);
      const back = /^[\b]+/.exec(words)?.[0].length ?? 0;
      length -= takeBack(kept, back);
      // What was taken back belongs to nobody any more.
      for (let i = this.#starts.length - 1; i >= 0 && (this.#starts[i] ?? 0) > length; i--) this.#starts[i] = length;
      this.#starts.push(length);
      this.#moments.push(event.at);
      const rest = rubbedOut(words.slice(back));
      kept.push(rest);
      length += rest.length;
    }
    this.#text = kept.join("");
  }

  /** The places where the words stand, small and capital letters alike, in order. */
  find(words: string): Found {
    const hits: Hit[] = [];
    if (words.trim() === "") return { hits, more: false };
    const pattern = new RegExp(words.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&").replace(/\s+/g, "[ \\t]+"), "giu");
    for (const found of this.#text.matchAll(pattern)) {
      if (hits.length === MOST_HITS) return { hits, more: true };
      hits.push(this.#hit(found.index, found[0]));
    }
    return { hits, more: false };
  }

  #hit(start: number, match: string): Hit {
    const end = start + match.length;
    const before = this.#text.slice(Math.max(0, start - AROUND), start);
    const after = this.#text.slice(end, end + AROUND);
    return {
      at: this.#moments[lastAtMost(this.#starts, end - 1)] ?? 0,
      before: before.slice(before.lastIndexOf("\n") + 1),
      match,
      after: after.split("\n", 1)[0] ?? "",
    };
  }
}

/** Text alone: a jump of the cursor parts words, a colour does not. */
function wordsOf(text: string): string {
  return text
    .replace(/\x1b\[[0-9;:?]*([@-~])/g, (_all, final: string) => (/[A-HSTZadef`su]/.test(final) ? " " : ""))
    .replace(/\x1b[DEM]/g, "\n")
    .replace(/\x1b(?:[()].|.)/g, "")
    .replace(/\r+\n?|[\x0b\x0c]/g, "\n")
    .replace(/[\x0e\x0f]/g, "")
    .replace(/\n{2,}/g, "\n");
}

/** Takes so many characters of the last line away, as a backspace does; how many there were. */
function takeBack(kept: string[], count: number): number {
  let taken = 0;
  while (taken < count) {
    const last = kept.pop();
    if (last === undefined) break;
    const line = last.lastIndexOf("\n") + 1;
    const cut = Math.min(count - taken, last.length - line);
    taken += cut;
    if (cut < last.length) {
      kept.push(last.slice(0, last.length - cut));
      break;
    }
  }
  return taken;
}

function rubbedOut(words: string): string {
  if (!words.includes("\b")) return words;
  const out: string[] = [];
  for (const character of words) {
    if (character !== "\b") out.push(character);
    else if (out.length > 0 && out.at(-1) !== "\n") out.pop();
  }
  return out.join("");
}

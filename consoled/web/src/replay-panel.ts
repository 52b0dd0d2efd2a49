/** The list beside the screen: what is found, and the marks of the recording. */

import { byId } from "./dom.js";
import type { CastEvent } from "./replay-cast.js";
import { MOST_HITS, type Found, type Hit, type SearchText } from "./replay-search.js";
import { clockWords, lastAtMost } from "./replay-timeline.js";
import { plain } from "./states.js";

type Mark = Extract<CastEvent, { kind: "mark" }>;

/** Marks that are listed at most. */
const MOST_MARKS = 1000;
/** Milliseconds after a key until what stands in the field is looked for. */
const PATIENCE = 200;

/** What the panel needs of the page. */
export interface PanelListener {
  /** The person chose a moment of the session. */
  chosen(at: number): void;
  /** The moment of the session that is shown now. */
  now(): number;
  /** The person is done with the field. */
  leave(): void;
}

export class Panel {
  readonly #panel = byId("panel", HTMLElement);
  readonly #toggle = byId("panel-toggle", HTMLButtonElement);
  readonly #input = byId("search-input", HTMLInputElement);
  readonly #count = byId("search-count", HTMLElement);
  readonly #hitList = byId("hits", HTMLOListElement);
  readonly #markList = byId("marks", HTMLOListElement);
  #text: SearchText | null = null;
  #found: Found = { hits: [], more: false };
  #at = -1;
  #marks: readonly Mark[] = [];
  #timer: ReturnType<typeof setTimeout> | null = null;

  /** @param text gives what is searched; asked once, as it takes a while. */
  constructor(
    private readonly listener: PanelListener,
    private readonly text: () => SearchText,
  ) {
    this.#toggle.addEventListener("click", () => this.show(this.#panel.hidden));
    this.#input.addEventListener("input", () => this.#lookSoon());
    this.#input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.#enter(event.shiftKey ? -1 : 1);
      else if (event.key === "Escape") this.listener.leave();
      else return;
      event.preventDefault();
    });
    byId("search-next", HTMLButtonElement).addEventListener("click", () => this.step(1));
    byId("search-previous", HTMLButtonElement).addEventListener("click", () => this.step(-1));
  }

  /** Shows or hides the panel. */
  show(on: boolean): void {
    this.#panel.hidden = !on;
    this.#toggle.setAttribute("aria-expanded", String(on));
  }

  /** Goes to the field. */
  search(): void {
    this.show(true);
    this.#input.focus();
    this.#input.select();
  }

  /** Lists the marks of a recording. */
  list(marks: readonly Mark[]): void {
    this.#marks = marks;
    const rows = marks.slice(0, MOST_MARKS).map((mark) => this.#row(mark.at, mark.label));
    this.#markList.replaceChildren(...rows);
    const note = byId("marks-note", HTMLElement);
    note.hidden = marks.length > 0 && marks.length <= MOST_MARKS;
    note.textContent = marks.length === 0 ? "None" : `The first ${MOST_MARKS} of ${marks.length}`;
  }

  /** Goes to the next or previous hit. */
  step(by: 1 | -1): void {
    const { hits } = this.#found;
    if (hits.length === 0) return;
    this.#choose((this.#at + by + hits.length) % hits.length);
  }

  /** Goes to the next or previous mark, from where the replay is. */
  stepMark(by: 1 | -1): void {
    const moments = this.#marks.map((mark) => mark.at);
    // A little on both sides: the replay stands where a mark was chosen.
    const index = by > 0 ? lastAtMost(moments, this.listener.now() + 0.05) + 1 : lastAtMost(moments, this.listener.now() - 0.5);
    const mark = this.#marks[index];
    if (mark !== undefined) this.listener.chosen(mark.at);
  }

  #lookSoon(): void {
    this.#stopWaiting();
    this.#timer = setTimeout(() => this.#look(), PATIENCE);
  }

  #enter(by: 1 | -1): void {
    if (this.#timer !== null) this.#look();
    this.step(by);
  }

  #look(): void {
    this.#stopWaiting();
    const words = this.#input.value;
    this.#text ??= words.trim() === "" ? null : this.text();
    this.#found = this.#text?.find(words) ?? { hits: [], more: false };
    this.#at = -1;
    this.#hitList.replaceChildren(...this.#found.hits.map((hit, index) => this.#hitRow(hit, index)));
    this.#say();
  }

  #stopWaiting(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #say(): void {
    const { hits, more } = this.#found;
    if (this.#input.value.trim() === "") this.#count.textContent = "";
    else if (hits.length === 0) this.#count.textContent = "Not found";
    else if (this.#at >= 0) this.#count.textContent = `${this.#at + 1} of ${hits.length}`;
    else this.#count.textContent = more ? `The first ${MOST_HITS} of more` : hits.length === 1 ? "1 place" : `${hits.length} places`;
  }

  #choose(index: number): void {
    const hit = this.#found.hits[index];
    if (hit === undefined) return;
    this.#hitList.querySelector("[aria-current]")?.removeAttribute("aria-current");
    const row = this.#hitList.children[index]?.querySelector("button");
    row?.setAttribute("aria-current", "true");
    row?.scrollIntoView({ block: "nearest" });
    this.#at = index;
    this.#say();
    this.listener.chosen(hit.at);
  }

  #hitRow(hit: Hit, index: number): HTMLLIElement {
    const match = document.createElement("mark");
    match.textContent = plain(hit.match, 100);
    const row = this.#row(hit.at, plain(hit.before), match, plain(hit.after));
    row.firstElementChild?.addEventListener("click", () => this.#choose(index));
    return row;
  }

  /** A line of a list, which goes to a moment of the session. */
  #row(at: number, ...words: (string | Node)[]): HTMLLIElement {
    const button = document.createElement("button");
    button.type = "button";
    const time = document.createElement("time");
    time.textContent = clockWords(at);
    const text = document.createElement("bdi");
    text.append(...words);
    button.append(time, text);
    if (words.length === 1) button.addEventListener("click", () => this.listener.chosen(at));
    const row = document.createElement("li");
    row.append(button);
    return row;
  }
}

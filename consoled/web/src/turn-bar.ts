/** A bar that counts down to the moment at which a console changes hands. */

import { byId } from "./dom.js";
import { secondsLeft } from "./turn.js";

/** What the bar's button does. */
export interface TurnAction {
  readonly id: string;
  readonly label: string;
  run(): void;
}

/** One line, there only while it counts. */
export class TurnBar {
  readonly #box = byId("turn", HTMLElement);
  readonly #line = document.createElement("div");
  readonly #words = document.createElement("span");
  readonly #spoken = document.createElement("span");
  readonly #button = document.createElement("button");
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param leave gives the focus back. */
  constructor(action: TurnAction, private readonly leave: () => void) {
    this.#line.className = "notice warning";
    // Spoken once; the seconds that go by are for the eye.
    this.#words.setAttribute("aria-hidden", "true");
    this.#spoken.className = "spoken";
    this.#spoken.setAttribute("role", "alert");
    this.#button.type = "button";
    this.#button.id = action.id;
    this.#button.textContent = action.label;
    this.#button.addEventListener("click", () => {
      this.#button.disabled = true;
      action.run();
    });
    this.#line.append(this.#words, this.#spoken, this.#button);
  }

  /** @param words the sentence with so many seconds left. */
  show(seconds: number, words: (seconds: number) => string): void {
    clearTimeout(this.#timer);
    this.#button.disabled = false;
    this.#box.append(this.#line);
    this.#spoken.textContent = words(Math.ceil(seconds));
    this.#count(performance.now() + seconds * 1000, words);
  }

  hide(): void {
    clearTimeout(this.#timer);
    if (!this.#line.isConnected) return;
    const focused = this.#line.contains(document.activeElement);
    this.#line.remove();
    if (focused) this.leave();
  }

  #count(until: number, words: (seconds: number) => string): void {
    const now = performance.now();
    const left = secondsLeft(until, now);
    this.#words.textContent = words(left);
    if (left > 0) this.#timer = setTimeout(() => this.#count(until, words), until - now - (left - 1) * 1000);
  }
}

/** A short hint to somebody who types although they only watch. */

import { byId } from "./dom.js";

/** Milliseconds that it stays after the last key. */
const STAYS = 4000;

const WORDS = "You are watching this console: what you type goes nowhere.";

export class WatchHint {
  readonly #box = byId("hint", HTMLElement);
  #timer: ReturnType<typeof setTimeout> | undefined;

  show(): void {
    clearTimeout(this.#timer);
    // The same words again would be spoken again.
    if (this.#box.textContent === "") this.#box.textContent = WORDS;
    this.#timer = setTimeout(() => this.hide(), STAYS);
  }

  hide(): void {
    clearTimeout(this.#timer);
    this.#box.textContent = "";
  }
}

/** The bar under the terminal on touch screens: what their keyboards lack. */

import { BAR_KEYS, bytesOf, withControl } from "./keys.js";
import type { ConsoleTerminal } from "./terminal.js";

export class KeyBar {
  readonly #control: HTMLButtonElement;

  constructor(place: HTMLElement, terminal: ConsoleTerminal) {
    this.#control = button("Ctrl", "Control, for the next key", () => {
      this.#held = !this.#held;
    });
    this.#held = false;
    const keys = BAR_KEYS.map((key) =>
      button(key.label, key.spoken, () => terminal.type(bytesOf(key, terminal.applicationCursor))),
    );
    place.append(...keys.slice(0, 2), this.#control, ...keys.slice(2));
    // The terminal keeps the focus, or the screen keyboard would close.
    place.addEventListener("pointerdown", (event) => event.preventDefault());
    place.addEventListener("mousedown", (event) => event.preventDefault());
  }

  /** Typed text, with Ctrl where it is held: once, for one character. */
  apply(text: string): string {
    if (!this.#held || text.length !== 1) return text;
    this.#held = false;
    return withControl(text);
  }

  get #held(): boolean {
    return this.#control.getAttribute("aria-pressed") === "true";
  }

  set #held(held: boolean) {
    this.#control.setAttribute("aria-pressed", String(held));
  }
}

function button(label: string, spoken: string, run: () => void): HTMLButtonElement {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = label;
  element.setAttribute("aria-label", spoken);
  element.addEventListener("click", run);
  return element;
}

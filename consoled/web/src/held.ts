/** The bar that says that typing is held back, and lets the person type anyway. */

import { byId } from "./dom.js";

const WHY = "No output from the guest yet, so typing is held back.";
const NOT_SENT = "What you typed was not sent: no output from the guest yet, so typing is held back.";

/** A live region, filled only while typing is held back. */
export class HeldBar {
  readonly #box = byId("held", HTMLElement);
  readonly #line = document.createElement("div");
  readonly #words = document.createElement("span");

  /**
   * @param confirm what the button does.
   * @param leave gives the focus back.
   */
  constructor(
    confirm: () => void,
    private readonly leave: () => void,
  ) {
    this.#line.className = "notice warning";
    const button = document.createElement("button");
    button.type = "button";
    button.id = "type-anyway";
    button.textContent = "Type anyway";
    button.addEventListener("click", confirm);
    this.#line.append(this.#words, button);
  }

  /** Shows or hides the bar. */
  show(held: boolean): void {
    if (held === this.#line.isConnected) return;
    this.#words.textContent = WHY;
    const focused = this.#line.contains(document.activeElement);
    if (held) this.#box.append(this.#line);
    else this.#line.remove();
    if (focused) this.leave();
  }

  /** Says that a key press went nowhere. */
  withheld(): void {
    this.#words.textContent = NOT_SENT;
  }
}

/** Lines from the server (and the page) that the person can dismiss. */

import { byId } from "./dom.js";
import { plain } from "./states.js";

/** The most lines at once; the oldest goes first. */
const MOST = 3;

export class Notices {
  readonly #box = byId("notices", HTMLElement);

  /** @param dismissed gives the focus back. */
  constructor(private readonly dismissed: () => void) {}

  show(text: string): void {
    const line = document.createElement("div");
    line.className = "notice";
    const words = document.createElement("span");
    words.textContent = plain(text);
    const button = document.createElement("button");
    button.type = "button";
    button.className = "icon";
    button.setAttribute("aria-label", "Dismiss");
    button.textContent = "×";
    button.addEventListener("click", () => {
      line.remove();
      this.dismissed();
    });
    line.append(words, button);
    this.#box.append(line);
    while (this.#box.childElementCount > MOST) this.#box.firstElementChild?.remove();
  }
}

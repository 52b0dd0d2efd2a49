/** Lines from the server (and the page) that the person can dismiss. */

import { byId } from "./dom.js";
import { plain } from "./states.js";

/** The most lines at once; the oldest goes first. */
const MOST = 3;

export class Notices {
  readonly #box = byId("notices", HTMLElement);

  /** @param dismissed gives the focus back. */
  constructor(private readonly dismissed: () => void) {}

  /** @param warning whether it is about what will happen, so that no later line pushes it out. */
  show(text: string, warning = false): void {
    const line = document.createElement("div");
    line.className = warning ? "notice warning" : "notice";
    const words = document.createElement("span");
    words.textContent = plain(text);
    for (const same of this.#lines) if (same.firstChild?.textContent === words.textContent) same.remove();
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
    while (this.#box.childElementCount > MOST) this.#spare.remove();
  }

  /** Takes the warnings away: the session that they were about is over. */
  endWarnings(): void {
    for (const line of this.#lines) if (line.classList.contains("warning")) line.remove();
  }

  get #lines(): Element[] {
    return [...this.#box.children];
  }

  /** The line to give up first. */
  get #spare(): Element {
    const lines = this.#lines;
    return lines.find((line) => !line.classList.contains("warning")) ?? (lines[0] as Element);
  }
}

/** Lines from the server (and the page) that the person can dismiss. */

import { byId } from "./dom.js";
import { plain } from "./states.js";

/** How long a line stays, besides until it is dismissed. */
export interface Staying {
  /** It is about what will happen, so that no later line pushes it out. */
  readonly warning?: boolean;
  /** It has no meaning any more once the person types. */
  readonly untilTyping?: boolean;
}

/** The most lines at once; the oldest goes first. */
const MOST = 3;

export class Notices {
  readonly #box = byId("notices", HTMLElement);

  /** @param dismissed gives the focus back. */
  constructor(private readonly dismissed: () => void) {}

  /** Shows a line. */
  show(text: string, staying: Staying = {}): void {
    const line = document.createElement("div");
    line.className = staying.warning === true ? "notice warning" : "notice";
    if (staying.untilTyping === true) line.dataset.until = "typing";
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

  /** The person types: what waits for that goes. */
  typed(): void {
    for (const line of this.#box.querySelectorAll("[data-until='typing']")) line.remove();
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

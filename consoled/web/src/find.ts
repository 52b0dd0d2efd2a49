/** The search bar over the terminal. */

import { byId } from "./dom.js";
import type { ConsoleTerminal } from "./terminal.js";

export class FindBar {
  readonly #bar = byId("find", HTMLElement);
  readonly #input = byId("find-input", HTMLInputElement);
  readonly #count = byId("find-count", HTMLElement);

  constructor(private readonly terminal: ConsoleTerminal) {
    this.#input.addEventListener("input", () => this.#look("next", true));
    this.#bar.addEventListener("keydown", (event) => this.#key(event));
    byId("find-next", HTMLButtonElement).addEventListener("click", () => this.#look("next"));
    byId("find-previous", HTMLButtonElement).addEventListener("click", () => this.#look("previous"));
    byId("find-close", HTMLButtonElement).addEventListener("click", () => this.close());
  }

  /** Shows the bar; a one-line selection is what is looked for. */
  open(): void {
    const selected = this.terminal.selection;
    if (selected !== "" && !selected.includes("\n")) this.#input.value = selected;
    this.#bar.hidden = false;
    this.#input.focus();
    this.#input.select();
    if (this.#input.value !== "") this.#look("next", true);
  }

  close(): void {
    this.#bar.hidden = true;
    this.terminal.endFind();
    this.terminal.focus();
  }

  /** Says how many there are. */
  found(at: number, count: number): void {
    if (this.#input.value === "") this.#count.textContent = "";
    else if (count === 0) this.#count.textContent = "No match";
    else this.#count.textContent = at < 0 ? `${count} matches` : `${at + 1} of ${count}`;
  }

  #look(direction: "next" | "previous", incremental = false): void {
    if (this.#input.value === "") {
      this.terminal.endFind();
      this.#count.textContent = "";
      return;
    }
    this.terminal.find(this.#input.value, direction, incremental);
  }

  #key(event: KeyboardEvent): void {
    if (event.key === "Escape") this.close();
    else if (event.key === "Enter" && event.target === this.#input) this.#look(event.shiftKey ? "previous" : "next");
    else return;
    event.preventDefault();
  }
}

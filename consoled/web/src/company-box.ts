/** The words in the bar about who else is on the console; opened, they are a list. */

import type { Company } from "./company.js";
import { byId } from "./dom.js";

export class CompanyBox {
  readonly #box = byId("company", HTMLDetailsElement);
  readonly #summary = byId("company-summary", HTMLElement);
  readonly #list = byId("company-list", HTMLElement);
  readonly #spoken = byId("company-spoken", HTMLElement);

  /** @param leave gives the focus back. */
  constructor(private readonly leave: () => void) {
    this.#box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#box.open) return;
      event.stopPropagation();
      this.#box.open = false;
      this.leave();
    });
    addEventListener("pointerdown", (event) => {
      if (event.target instanceof Node && !this.#box.contains(event.target)) this.#box.open = false;
    }, { capture: true });
  }

  /** Shows the company, or that there is none. */
  show(company: Company | null): void {
    if (company === null && this.#box.contains(document.activeElement)) this.leave();
    this.#box.hidden = company === null;
    if (company === null) this.#box.open = false;
    const summary = company?.summary ?? "";
    // The same words again would be spoken again.
    if (this.#spoken.textContent !== summary) this.#spoken.textContent = summary;
    this.#summary.textContent = summary;
    this.#list.replaceChildren(...(company?.names ?? []).map(entry));
  }
}

function entry(name: string): HTMLElement {
  const item = document.createElement("li");
  item.dir = "auto";
  item.textContent = name;
  return item;
}

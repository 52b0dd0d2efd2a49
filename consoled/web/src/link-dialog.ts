/** Asks before a link from the guest's output is opened, and shows where it really goes. */

import { copyText } from "./clipboard.js";
import { byId } from "./dom.js";
import { allowedLink } from "./links.js";

export class LinkDialog {
  readonly #dialog = byId("link-dialog", HTMLDialogElement);
  readonly #address = byId("link-address", HTMLElement);
  readonly #host = byId("link-host", HTMLElement);
  readonly #open = byId("link-open", HTMLAnchorElement);

  /** @param closed gives the focus back. */
  constructor(closed: () => void) {
    byId("link-cancel", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    byId("link-copy", HTMLButtonElement).addEventListener("click", () => {
      void copyText(this.#open.href).then(() => this.#dialog.close());
    });
    this.#open.addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => {
      this.#open.removeAttribute("href");
      closed();
    });
  }

  /** Asks about an address; one that is not http or https is ignored. */
  ask(address: string): void {
    const url = allowedLink(address);
    if (url === null) return;
    this.#host.textContent = url.host;
    this.#address.textContent = url.href;
    this.#open.href = url.href;
    this.#dialog.showModal();
  }
}

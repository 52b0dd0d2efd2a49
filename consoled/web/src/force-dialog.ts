/** Asks before somebody else is disconnected. */

import { byId } from "./dom.js";

export class ForceDialog {
  readonly #dialog = byId("force-dialog", HTMLDialogElement);

  /**
   * @param take what is confirmed.
   * @param closed gives the focus back.
   */
  constructor(take: () => void, closed: () => void) {
    byId("force-cancel", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    byId("force-take", HTMLButtonElement).addEventListener("click", () => {
      this.#dialog.close();
      take();
    });
    this.#dialog.addEventListener("close", closed);
  }

  ask(): void {
    this.#dialog.showModal();
  }
}

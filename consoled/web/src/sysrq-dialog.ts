/** Asks before a SysRq is sent that stops something in the guest. */

import { byId } from "./dom.js";
import type { SysrqKey } from "./sysrq.js";

export class SysrqDialog {
  readonly #dialog = byId("sysrq-dialog", HTMLDialogElement);
  readonly #title = byId("sysrq-title", HTMLElement);
  readonly #danger = byId("sysrq-danger", HTMLElement);
  readonly #send = byId("sysrq-send", HTMLButtonElement);
  #asked: SysrqKey | null = null;

  /**
   * @param send what is confirmed.
   * @param closed gives the focus back.
   */
  constructor(send: (key: SysrqKey) => void, closed: () => void) {
    byId("sysrq-cancel", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.#send.addEventListener("click", () => {
      const key = this.#asked;
      this.#dialog.close();
      if (key !== null) send(key);
    });
    this.#dialog.addEventListener("close", () => {
      this.#asked = null;
      closed();
    });
  }

  /** @param guest the instance's name. */
  ask(key: SysrqKey, guest: string): void {
    this.#asked = key;
    this.#title.textContent = `Send SysRq ${key.key} to ${guest}?`;
    this.#danger.textContent = key.danger ?? "";
    this.#send.textContent = `Send SysRq ${key.key}`;
    this.#dialog.showModal();
  }

  /** The console is gone, and the question with it. */
  withdraw(): void {
    if (this.#dialog.open) this.#dialog.close();
  }
}

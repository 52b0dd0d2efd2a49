/** The bar that shows how far a large paste is, and lets the person cancel it. */

import { byId } from "./dom.js";
import { percentOf, runningWords } from "./paste-words.js";
import type { Progress } from "./paste.js";

/** Milliseconds that a paste may take without a bar. */
const UNSEEN = 500;

/** Percent after which progress is spoken again. */
const SPOKEN_STEP = 25;

/** One line, there only while a paste runs. */
export class PasteBar {
  readonly #box = byId("paste", HTMLElement);
  readonly #spoken = byId("paste-spoken", HTMLElement);
  readonly #line = document.createElement("div");
  readonly #words = document.createElement("span");
  readonly #gauge = document.createElement("progress");
  readonly #button = document.createElement("button");
  #timer: ReturnType<typeof setTimeout> | undefined;
  #said = -1;

  /**
   * @param cancel what the button does.
   * @param leave gives the focus back.
   */
  constructor(
    cancel: () => void,
    private readonly leave: () => void,
  ) {
    this.#line.className = "notice";
    // Spoken in steps; each change is for the eye.
    this.#words.setAttribute("aria-hidden", "true");
    this.#gauge.setAttribute("aria-label", "Paste");
    this.#button.type = "button";
    this.#button.id = "cancel-paste";
    this.#button.textContent = "Cancel";
    this.#button.setAttribute("aria-label", "Cancel the paste");
    this.#button.addEventListener("click", () => {
      this.#button.disabled = true;
      cancel();
      this.leave();
    });
    this.#line.append(this.#words, this.#gauge, this.#button);
  }

  /** A paste begins, or goes on. */
  show(progress: Progress): void {
    this.#words.textContent = runningWords(progress);
    this.#gauge.max = progress.total;
    this.#gauge.value = progress.sent;
    if (this.#line.isConnected) this.#speak(progress);
    else this.#timer ??= setTimeout(() => this.#appear(), UNSEEN);
  }

  /** It is over. */
  hide(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#said = -1;
    if (!this.#line.isConnected) return;
    const focused = this.#line.contains(document.activeElement);
    this.#line.remove();
    this.#spoken.textContent = "";
    if (focused) this.leave();
  }

  #appear(): void {
    this.#button.disabled = false;
    this.#box.append(this.#line);
    this.#speak({ sent: this.#gauge.value, total: this.#gauge.max });
  }

  #speak(progress: Progress): void {
    const step = Math.floor(percentOf(progress) / SPOKEN_STEP);
    if (step === this.#said) return;
    this.#said = step;
    this.#spoken.textContent = runningWords(progress);
  }
}

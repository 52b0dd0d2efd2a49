/** The bar below the screen: play, position, speed, idle time. */

import { byId } from "./dom.js";
import { clockWords } from "./replay-timeline.js";

/** What the controls ask for; times are seconds of the replay. */
export interface ControlsListener {
  toggle(): void;
  by(seconds: number): void;
  seek(position: number): void;
  speed(speed: number): void;
  skip(on: boolean): void;
}

/** Where the replay is. */
export interface Position {
  /** Seconds of the replay. */
  readonly position: number;
  readonly duration: number;
  /** Seconds of the session. */
  readonly moment: number;
}

export class Controls {
  readonly #play = byId("play", HTMLButtonElement);
  readonly #slider = byId("position", HTMLInputElement);
  readonly #time = byId("time", HTMLElement);
  readonly #clock = byId("clock", HTMLTimeElement);
  readonly #speed = byId("speed", HTMLSelectElement);
  readonly #skip = byId("skip", HTMLInputElement);
  #dragging = false;
  #began: Date | null = null;

  constructor(private readonly listener: ControlsListener) {
    this.#play.addEventListener("click", () => listener.toggle());
    byId("back", HTMLButtonElement).addEventListener("click", () => listener.by(-10));
    byId("forward", HTMLButtonElement).addEventListener("click", () => listener.by(10));
    this.#slider.addEventListener("input", () => {
      this.#dragging = true;
      listener.seek(Number(this.#slider.value));
    });
    this.#slider.addEventListener("change", () => {
      this.#dragging = false;
    });
    this.#speed.addEventListener("change", () => listener.speed(Number(this.#speed.value)));
    this.#skip.addEventListener("change", () => listener.skip(this.#skip.checked));
  }

  get skips(): boolean {
    return this.#skip.checked;
  }

  /**
   * Makes the controls usable.
   *
   * @param began when the session began, or null where that is not known.
   */
  open(began: Date | null): void {
    this.#began = began;
    byId("controls", HTMLFieldSetElement).disabled = false;
  }

  playing(on: boolean): void {
    this.#play.textContent = on ? "Pause" : "Play";
  }

  /** Chooses the next or previous speed of the list. */
  stepSpeed(by: 1 | -1): void {
    const index = this.#speed.selectedIndex + by;
    if (index < 0 || index >= this.#speed.options.length) return;
    this.#speed.selectedIndex = index;
    this.listener.speed(Number(this.#speed.value));
  }

  show({ position, duration, moment }: Position): void {
    const [now, all] = [clockWords(position), clockWords(duration)];
    this.#slider.max = String(duration);
    if (!this.#dragging) this.#slider.value = String(position);
    this.#slider.setAttribute("aria-valuetext", `${now} of ${all}`);
    this.#time.textContent = `${now} / ${all}`;
    if (this.#began === null) return;
    const date = new Date(this.#began.getTime() + moment * 1000);
    this.#clock.dateTime = date.toISOString();
    this.#clock.textContent = date.toLocaleTimeString();
    this.#clock.title = `What is shown happened on ${date.toLocaleString()}`;
  }
}

/** The bar above the terminal and the banner of a connection that is ended or broken. */

import { byId } from "./dom.js";
import type { Hello } from "./protocol.js";
import { plain, words, type Claim, type State } from "./states.js";

/** What the person can do about a connection that is not there. */
export interface BannerActions {
  reconnect(): void;
  claim(claim: Claim): void;
  stop(): void;
  /** Gives the focus back to the terminal. */
  refocus(): void;
}

const MENDING = "The page tries again by itself. What you type meanwhile is not sent.";

export class Header {
  readonly #name = byId("instance-name", HTMLElement);
  readonly #console = byId("console-index", HTMLElement);
  readonly #state = byId("state", HTMLElement);
  readonly #ended = byId("ended", HTMLElement);
  readonly #reason = byId("ended-reason", HTMLElement);
  readonly #advice = byId("ended-advice", HTMLElement);
  readonly #reconnect = byId("reconnect", HTMLButtonElement);
  readonly #claims: ReadonlyMap<Claim, HTMLButtonElement> = new Map([
    ["takeover", byId("take-over", HTMLButtonElement)],
    ["ask", byId("ask", HTMLButtonElement)],
    ["force", byId("force", HTMLButtonElement)],
  ]);
  readonly #stop = byId("stop", HTMLButtonElement);

  /** @param does what the banner's buttons do. */
  constructor(private readonly does: BannerActions) {
    this.#reconnect.addEventListener("click", () => does.reconnect());
    for (const [claim, button] of this.#claims) button.addEventListener("click", () => does.claim(claim));
    this.#stop.addEventListener("click", () => does.stop());
  }

  /** Names the console; always as text. */
  name(hello: Hello): void {
    const name = plain(hello.name, 255).trim() || "Serial console";
    this.#name.textContent = name;
    const which = hello.shell ? "shell" : `console ${hello.console}${hello.pty ? " (pty)" : ""}`;
    this.#console.textContent = which;
    document.title = `${name} — ${which}`;
  }

  /** @param canReconnect whether there is a token to reconnect with. */
  show(state: State, canReconnect: boolean): void {
    this.#say(words(state));
    document.body.dataset.state = state.kind;
    document.body.toggleAttribute("data-watching", state.kind === "connected" && state.watching);
    if (state.kind !== "ended" && state.kind !== "reconnecting") {
      // A button that goes away under the focus would leave the keyboard nowhere.
      if (this.#ended.contains(document.activeElement)) this.does.refocus();
      this.#ended.hidden = true;
      return;
    }
    const { reason, advice, retry, claims } = state.ending;
    const broken = state.kind === "reconnecting";
    this.#ended.hidden = false;
    this.#reason.textContent = capital(reason);
    this.#advice.textContent = broken ? MENDING : advice;
    this.#reconnect.hidden = !canReconnect;
    this.#reconnect.textContent = broken ? "Reconnect now" : "Reconnect";
    this.#reconnect.classList.toggle("primary", retry && !broken && claims === undefined);
    for (const [claim, button] of this.#claims) button.hidden = claims?.includes(claim) !== true;
    if (!broken && this.#stop === document.activeElement) this.#reconnect.focus();
    this.#stop.hidden = !broken;
  }

  /** The reason after "Ended" is spoken here and seen in the banner below. */
  #say(text: string): void {
    // The same words again would be spoken again.
    if (this.#state.textContent === text) return;
    const colon = text.indexOf(":");
    const rest = document.createElement("span");
    rest.className = "spoken";
    rest.textContent = colon < 0 ? "" : text.slice(colon);
    this.#state.replaceChildren(colon < 0 ? text : text.slice(0, colon), rest);
  }

  /** The first thing in the bar that takes the focus. */
  focus(): void {
    const shown = ["#ended button", "#turn button", "#held button", "#company summary", "#tools button"]
      .flatMap((buttons) => [...document.querySelectorAll<HTMLElement>(buttons)])
      .find((button) => button.offsetParent !== null);
    shown?.focus();
  }
}

function capital(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

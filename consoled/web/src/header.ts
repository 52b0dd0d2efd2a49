/** The bar above the terminal and the banner of an ended connection. */

import { byId } from "./dom.js";
import type { Hello } from "./protocol.js";
import { plain, words, type State } from "./states.js";

export class Header {
  readonly #name = byId("instance-name", HTMLElement);
  readonly #console = byId("console-index", HTMLElement);
  readonly #state = byId("state", HTMLElement);
  readonly #ended = byId("ended", HTMLElement);
  readonly #reason = byId("ended-reason", HTMLElement);
  readonly #advice = byId("ended-advice", HTMLElement);
  readonly #reconnect = byId("reconnect", HTMLButtonElement);

  /** @param reconnect what the Reconnect button does. */
  constructor(reconnect: () => void) {
    this.#reconnect.addEventListener("click", reconnect);
  }

  /** Names the console; always as text. */
  name(hello: Hello): void {
    const name = plain(hello.name, 255).trim() || "Serial console";
    this.#name.textContent = name;
    this.#console.textContent = `console ${hello.console}`;
    document.title = `${name} — console ${hello.console}`;
  }

  /** @param canReconnect whether there is a token to reconnect with. */
  show(state: State, canReconnect: boolean): void {
    this.#say(words(state));
    document.body.dataset.state = state.kind;
    this.#ended.hidden = state.kind !== "ended";
    if (state.kind !== "ended") return;
    this.#reason.textContent = capital(state.ending.reason);
    this.#advice.textContent = state.ending.advice;
    this.#reconnect.hidden = !canReconnect;
    this.#reconnect.classList.toggle("primary", state.ending.retry);
  }

  /** The reason after "Ended" is spoken here and seen in the banner below. */
  #say(text: string): void {
    const colon = text.indexOf(":");
    const rest = document.createElement("span");
    rest.className = "spoken";
    rest.textContent = colon < 0 ? "" : text.slice(colon);
    this.#state.replaceChildren(colon < 0 ? text : text.slice(0, colon), rest);
  }

  /** The first thing in the bar that takes the focus. */
  focus(): void {
    const shown = [this.#reconnect, ...document.querySelectorAll<HTMLElement>("#tools button")]
      .find((button) => button.offsetParent !== null);
    shown?.focus();
  }
}

function capital(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

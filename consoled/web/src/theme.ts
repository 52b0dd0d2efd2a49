/** Light and dark, for the page (by CSS variables on <html>) and for the terminal. */

import type { ITheme } from "@xterm/xterm";
import type { Theme } from "./preferences.js";

const DARK: ITheme = {
  background: "#15181c",
  foreground: "#d7dce1",
  cursor: "#d7dce1",
  cursorAccent: "#15181c",
  selectionBackground: "#2f5a8f",
  selectionInactiveBackground: "#3a4552",
  scrollbarSliderBackground: "#8b98a533",
  scrollbarSliderHoverBackground: "#8b98a566",
  scrollbarSliderActiveBackground: "#8b98a599",
  black: "#31373e",
  red: "#f47b73",
  green: "#6fc283",
  yellow: "#d9b25f",
  blue: "#6fa8f0",
  magenta: "#c695e8",
  cyan: "#5fc0c9",
  white: "#c9d0d7",
  brightBlack: "#7d8894",
  brightRed: "#ff9c95",
  brightGreen: "#8fdba1",
  brightYellow: "#efcc7f",
  brightBlue: "#93c0fb",
  brightMagenta: "#dab3f5",
  brightCyan: "#86d9e0",
  brightWhite: "#ffffff",
};

const LIGHT: ITheme = {
  background: "#fcfcfb",
  foreground: "#1f2328",
  cursor: "#1f2328",
  cursorAccent: "#fcfcfb",
  selectionBackground: "#b5d3f7",
  selectionInactiveBackground: "#d9dee3",
  scrollbarSliderBackground: "#59636e33",
  scrollbarSliderHoverBackground: "#59636e66",
  scrollbarSliderActiveBackground: "#59636e99",
  black: "#1f2328",
  red: "#b3261e",
  green: "#19692c",
  yellow: "#7d5200",
  blue: "#0b56b3",
  magenta: "#7b3aa6",
  cyan: "#0c6670",
  white: "#6b747d",
  brightBlack: "#59636e",
  brightRed: "#c4342b",
  brightGreen: "#1f7a36",
  brightYellow: "#8a5c00",
  brightBlue: "#1a67cc",
  brightMagenta: "#8d49ba",
  brightCyan: "#127580",
  brightWhite: "#3d444c",
};

/** Colours of matches in a search, as #RRGGBB (the search addon's form). */
export interface MatchColours {
  readonly match: string;
  readonly active: string;
}

/** What follows the chosen theme. */
export interface Colours {
  readonly terminal: ITheme;
  readonly matches: MatchColours;
}

/** Keeps <html data-theme> and a follower in step with the choice and the system. */
export class ThemeSwitch {
  readonly #dark = matchMedia("(prefers-color-scheme: dark)");
  #choice: Theme = "auto";

  /** @param follow told of the colours at each change. */
  constructor(private readonly follow: (colours: Colours) => void) {
    this.#dark.addEventListener("change", () => this.#apply());
  }

  choose(choice: Theme): void {
    this.#choice = choice;
    this.#apply();
  }

  #apply(): void {
    const dark = this.#choice === "auto" ? this.#dark.matches : this.#choice === "dark";
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    this.follow(
      dark
        ? { terminal: DARK, matches: { match: "#5c4a1c", active: "#a8741a" } }
        : { terminal: LIGHT, matches: { match: "#ffe9a8", active: "#ffc24d" } },
    );
  }
}

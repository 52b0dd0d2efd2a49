/** What the page remembers of a person's wishes, in localStorage. */

export const THEMES = ["auto", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

export interface Preferences {
  readonly fontSize: number;
  readonly theme: Theme;
  readonly screenReader: boolean;
}

export const FONT_SIZES = { least: 8, most: 32 } as const;

export const DEFAULTS: Preferences = { fontSize: 14, theme: "auto", screenReader: false };

const NAME = "consoled.preferences";

/** A font size within bounds, in CSS pixels. */
export function fontSize(wanted: number): number {
  return Math.min(FONT_SIZES.most, Math.max(FONT_SIZES.least, Math.round(wanted)));
}

/** Preferences out of what was stored; whatever is missing or wrong is the default. */
export function parsePreferences(stored: string | null): Preferences {
  let read: Partial<Record<keyof Preferences, unknown>> = {};
  try {
    const value: unknown = JSON.parse(stored ?? "{}");
    if (typeof value === "object" && value !== null) read = value;
  } catch {
    // Not ours, or damaged: the defaults.
  }
  return {
    fontSize: typeof read.fontSize === "number" && Number.isFinite(read.fontSize)
      ? fontSize(read.fontSize)
      : DEFAULTS.fontSize,
    theme: THEMES.find((theme) => theme === read.theme) ?? DEFAULTS.theme,
    screenReader: read.screenReader === true,
  };
}

/** Reads and writes preferences; a browser that refuses storage forgets them, no more. */
export class PreferenceStore {
  #now: Preferences;

  /** @param open gives localStorage; it may throw. */
  constructor(private readonly open: () => Pick<Storage, "getItem" | "setItem">) {
    let stored: string | null = null;
    try {
      stored = open().getItem(NAME);
    } catch {
      // Refused: the defaults.
    }
    this.#now = parsePreferences(stored);
  }

  get now(): Preferences {
    return this.#now;
  }

  /** Changes some, and returns all as they are now. */
  change(some: Partial<Preferences>): Preferences {
    this.#now = { ...this.#now, ...some };
    try {
      this.open().setItem(NAME, JSON.stringify(this.#now));
    } catch {
      // Refused: they last as long as the page.
    }
    return this.#now;
  }
}

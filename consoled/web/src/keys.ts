/** Keys that a browser keeps for itself, or that a phone does not have. */

/** A key that the page can send. */
export interface Key {
  /** What its button shows. */
  readonly label: string;
  /** What a screen reader says. */
  readonly spoken: string;
  /** The bytes, as text. */
  readonly sends: string;
  /** The bytes in application cursor mode (DECCKM), where they differ. */
  readonly applicationSends?: string;
}

/** Keys that stand together in the menu. */
export interface KeyGroup {
  readonly label: string;
  readonly keys: readonly Key[];
}

const ESC = "\x1b";

function control(letter: string): Key {
  return {
    label: `Ctrl-${letter}`,
    spoken: `Control ${letter === "]" ? "right bracket" : letter === "\\" ? "backslash" : letter}`,
    sends: String.fromCharCode(letter.charCodeAt(0) & 0x1f),
  };
}

function cursor(label: string, spoken: string, final: string): Key {
  return { label, spoken, sends: `${ESC}[${final}`, applicationSends: `${ESC}O${final}` };
}

function plainKey(label: string, spoken: string, sends: string): Key {
  return { label, spoken, sends };
}

/** F1 to F4 are SS3 sequences, the others CSI n ~ (xterm's own table, with its gaps). */
const FUNCTION_KEYS = ["OP", "OQ", "OR", "OS", "[15~", "[17~", "[18~", "[19~", "[20~", "[21~", "[23~", "[24~"];

export const KEY_GROUPS: readonly KeyGroup[] = [
  { label: "Kept by the browser", keys: ["W", "T", "N"].map(control) },
  {
    label: "Control",
    keys: [
      plainKey("Esc", "Escape", ESC),
      plainKey("Tab", "Tab", "\t"),
      ...["C", "D", "Z", "]", "\\", "L"].map(control),
    ],
  },
  {
    label: "Cursor",
    keys: [
      cursor("←", "Left arrow", "D"),
      cursor("↓", "Down arrow", "B"),
      cursor("↑", "Up arrow", "A"),
      cursor("→", "Right arrow", "C"),
      cursor("Home", "Home", "H"),
      cursor("End", "End", "F"),
      plainKey("PgUp", "Page up", `${ESC}[5~`),
      plainKey("PgDn", "Page down", `${ESC}[6~`),
      plainKey("Ins", "Insert", `${ESC}[2~`),
      plainKey("Del", "Delete", `${ESC}[3~`),
    ],
  },
  {
    label: "Function",
    keys: FUNCTION_KEYS.map((tail, at) => plainKey(`F${at + 1}`, `Function ${at + 1}`, ESC + tail)),
  },
];

/** The keys of the bar that touch screens get under the terminal. */
export const BAR_KEYS: readonly Key[] = ["Escape", "Tab", "Left arrow", "Down arrow", "Up arrow", "Right arrow"]
  .map((spoken) => KEY_GROUPS.flatMap((group) => group.keys).find((key) => key.spoken === spoken))
  .filter((key) => key !== undefined);

/**
 * What a typed character sends while Ctrl is held by the bar's button: C0 for `@` to `_` and the
 * letters, DEL for `?`, NUL for a space; anything else is itself.
 */
export function withControl(text: string): string {
  if (text === "?") return "\x7f";
  if (text === " ") return "\0";
  return /^[@-_a-z]$/.test(text) ? String.fromCharCode(text.charCodeAt(0) & 0x1f) : text;
}

/** What a key sends in the guest's present mode. */
export function bytesOf(key: Key, applicationCursor: boolean): string {
  return applicationCursor ? (key.applicationSends ?? key.sends) : key.sends;
}

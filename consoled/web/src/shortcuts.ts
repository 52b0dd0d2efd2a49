/** The page's own keyboard shortcuts; every other key is the guest's. */

export type Shortcut = "copy" | "paste" | "find" | "larger" | "smaller" | "toolbar";

type KeyPress = Pick<KeyboardEvent, "key" | "code" | "ctrlKey" | "shiftKey" | "altKey" | "metaKey">;

/** By physical place, so that they are the same on every layout; browsers use none for zoom. */
const BY_CODE: Readonly<Record<string, Shortcut>> = { Period: "larger", Comma: "smaller" };
const BY_KEY: Readonly<Record<string, Shortcut>> = {
  c: "copy",
  v: "paste",
  f: "find",
  l: "toolbar",
};

/**
 * What a key press means to the page, or null where it goes to the guest.
 *
 * @param mac whether Cmd is the platform's key for copy and paste.
 */
export function shortcutOf(press: KeyPress, mac: boolean): Shortcut | null {
  if (press.altKey) return null;
  const key = press.key.toLowerCase();
  if (press.metaKey) {
    return mac && !press.ctrlKey && !press.shiftKey && (key === "c" || key === "v")
      ? (BY_KEY[key] ?? null)
      : null;
  }
  if (key === "insert") {
    if (press.ctrlKey && !press.shiftKey) return "copy";
    return press.shiftKey && !press.ctrlKey ? "paste" : null;
  }
  if (!press.ctrlKey || !press.shiftKey) return null;
  return BY_KEY[key] ?? BY_CODE[press.code] ?? null;
}

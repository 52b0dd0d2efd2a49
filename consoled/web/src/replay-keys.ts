/** The keyboard of the replay page. */

/** What a key does. */
export type Action =
  | { readonly kind: "toggle" }
  | { readonly kind: "by"; readonly seconds: number }
  | { readonly kind: "to"; readonly part: 0 | 1 }
  | { readonly kind: "mark"; readonly step: 1 | -1 }
  | { readonly kind: "hit"; readonly step: 1 | -1 }
  | { readonly kind: "speed"; readonly step: 1 | -1 }
  | { readonly kind: "search" };

type Press = Pick<KeyboardEvent, "key" | "ctrlKey" | "shiftKey" | "altKey" | "metaKey">;

/** Seconds of the replay that an arrow key goes, alone and with Shift. */
const STEP = 5;
const LEAP = 60;

/** What a key does while no field has it, or null. */
export function actionOf(press: Press): Action | null {
  if (press.altKey || press.metaKey) return null;
  if (press.ctrlKey) {
    return press.shiftKey && press.key.toLowerCase() === "f" ? { kind: "search" } : null;
  }
  const far = press.shiftKey ? LEAP : STEP;
  switch (press.key) {
    case " ":
      return { kind: "toggle" };
    case "ArrowLeft":
      return { kind: "by", seconds: -far };
    case "ArrowRight":
      return { kind: "by", seconds: far };
    case "Home":
      return { kind: "to", part: 0 };
    case "End":
      return { kind: "to", part: 1 };
    case "[":
      return { kind: "mark", step: -1 };
    case "]":
      return { kind: "mark", step: 1 };
    case "n":
      return { kind: "hit", step: 1 };
    case "N":
      return { kind: "hit", step: -1 };
    case "<":
      return { kind: "speed", step: -1 };
    case ">":
      return { kind: "speed", step: 1 };
    case "/":
      return { kind: "search" };
    default:
      return null;
  }
}

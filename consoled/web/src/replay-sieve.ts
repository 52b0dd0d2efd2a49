/**
 * Lets through what draws: text, line breaks, colours and the movements of the cursor.
 *
 * The rules are those of `consolectl recording play` (consoled/recording/replay.py). The player
 * answers nothing and opens nothing, but it does resize itself on request, and repeats what it is
 * told to as often as it is told: so numbers are bounded too.
 */

/** Characters of one sequence at most; what is longer is none. */
const LONGEST = 256;
/** The largest number in a sequence that moves, erases or repeats. */
const FARTHEST = 500;
/** How many cells are erased, or moved, in the time that one character takes to print. */
const ERASED = 4;
const MOVED = 2;
/** What a character costs that is repeated, and not read. */
const REPEATED = 2;
/** Text with line breaks and colours, which most output is, is seen at once to be harmless. */
const HARMLESS = /^(?:[^\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f]|\x08|\x1b\[[0-9;:]{0,60}m)*$/;

const TEXT = /[^\x00-\x1f\x7f-\x9f]+|[\t\n\r\b\x0b\x0c\x0e\x0f]/y;
const CSI = /\x1b\[([0-?]*[ -/]*[@-~])/y;
const CSI_PART = /\x1b\[[0-?]*[ -/]*/y;
const SHORT = /\x1b([()][0AB]|[78DEMc=>])/y;
const STRING = /\x1b[\]P_^X]/y;
const STRING_END = /\x1b\\|[\x07\x18\x1a]/g;
const OTHER = /\x1b[ -/]*[0-~]/y;
const DRAWING = /^(?:[0-9;:]*[@A-HJKLMPSTXZ`abdefgmr]|s|u)$/;
const MODES: ReadonlySet<string> = new Set([
  "?1", "?3", "?5", "?6", "?7", "?25", "?47", "?1047", "?1048", "?1049", "4",
]);

/** Cleans output; what is cut between two events waits, bounded. */
export class Sieve {
  /** The cells of the screen, as the next text finds it. */
  cells = 80 * 24;
  #work = 0;
  #rest = "";
  #inString = false;

  /**
   * The player's work for all that was let through, as so many characters printed: a few bytes
   * that erase a large screen are as much work as a page of text.
   */
  get work(): number {
    return this.#work;
  }

  /** What the player may have of the text. */
  clean(piece: string): string {
    if (this.#rest === "" && !this.#inString && HARMLESS.test(piece)) {
      this.#work += piece.length;
      return piece;
    }
    const text = this.#rest + piece.replace(/[\x80-\x9f]/g, (code) => `\x1b${String.fromCharCode(code.charCodeAt(0) - 0x40)}`);
    this.#rest = "";
    const out: string[] = [];
    let place = 0;
    while (place < text.length) {
      if (this.#inString) {
        place = this.#skipString(text, place);
        continue;
      }
      const run = at(TEXT, text, place);
      if (run !== null) {
        out.push(run[0]);
        this.#work += run[0].length;
        place += run[0].length;
      } else if (text[place] === "\x1b") {
        place = this.#escape(text, place, out);
      } else {
        place += 1;
      }
    }
    return out.join("");
  }

  /** The work of a sequence; one that repeats says itself how many characters. */
  #workOf(sequence: string): number {
    const final = sequence.at(-1) ?? "";
    if (final === "b") return REPEATED * Math.min(Number.parseInt(sequence, 10) || 1, FARTHEST);
    if (/[LMST]/.test(final)) return 1 + this.cells / MOVED;
    return /[Jhl]/.test(final) ? 1 + this.cells / ERASED : 1;
  }

  #skipString(text: string, place: number): number {
    STRING_END.lastIndex = place;
    const end = STRING_END.exec(text);
    if (end !== null) {
      this.#inString = false;
      return end.index + end[0].length;
    }
    if (text.endsWith("\x1b")) this.#rest = "\x1b";
    return text.length;
  }

  #escape(text: string, place: number, out: string[]): number {
    const csi = at(CSI, text, place);
    if (csi !== null) {
      if (csi[0].length <= LONGEST && draws(csi[1] ?? "")) {
        out.push(bounded(csi[0]));
        this.#work += this.#workOf(csi[1] ?? "");
      }
      return place + csi[0].length;
    }
    const short = at(SHORT, text, place);
    if (short !== null) {
      out.push(short[0]);
      this.#work += short[1] === "c" ? this.cells / ERASED : 1;
      return place + short[0].length;
    }
    if (at(STRING, text, place) !== null) {
      this.#inString = true;
      return place + 2;
    }
    const part = at(CSI_PART, text, place);
    const left = text.length - place;
    const cut = part === null ? left <= 2 : part[0].length === left;
    if (cut && left <= LONGEST) {
      this.#rest = text.slice(place);
      return text.length;
    }
    if (part !== null) return place + part[0].length;
    const other = at(OTHER, text, place);
    return place + (other === null ? 1 : other[0].length);
  }
}

/** Whether a CSI sequence, without its beginning, only draws. */
function draws(sequence: string): boolean {
  if (!/[hl]$/.test(sequence)) return DRAWING.test(sequence);
  const prefix = sequence.startsWith("?") ? "?" : "";
  const modes = sequence.slice(prefix.length, -1).split(";");
  return modes.every((mode) => MODES.has(prefix + mode));
}

function bounded(csi: string): string {
  return /[hlm]$/.test(csi) ? csi : csi.replace(/\d+/g, (number) => String(Math.min(Number(number), FARTHEST)));
}

function at(pattern: RegExp, text: string, place: number): RegExpExecArray | null {
  pattern.lastIndex = place;
  return pattern.exec(text);
}

/** The terminal: xterm with its addons, set up for hostile output. */

import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon, type ISearchOptions } from "@xterm/addon-search";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { Terminal } from "@xterm/xterm";
import { GuestClipboard } from "./clipboard.js";
import { cleanPaste, encodeBinary } from "./encode.js";
import { pasteOf, SMALL, type Paste } from "./paste.js";
import type { Colours } from "./theme.js";

/** What the terminal tells the page. */
export interface TerminalListener {
  /** Text for the guest: typed, a small paste, or the terminal's answer to it. */
  typed(text: string): void;
  /** A large paste for the guest. */
  pasted(paste: Paste): void;
  /** Bytes for the guest that are not text (old mouse reports). */
  reported(bytes: Uint8Array<ArrayBuffer>): void;
  /** The person activated a link in the guest's output; nothing is opened yet. */
  linkChosen(address: string): void;
  /** The person typed or pasted while nothing goes to the guest. */
  typedInVain(): void;
  /** @returns whether the page took the key, so that the guest does not get it. */
  keyPressed(event: KeyboardEvent): boolean;
  /** The search's results changed; `at` is -1 where none is active. */
  found(at: number, count: number): void;
  /** The terminal has room for so much now. */
  resized(size: { rows: number; cols: number }): void;
}

const FONT =
  'ui-monospace, "SF Mono", SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';

/** Ends any escape sequence. */
const CAN = "\x18";

/**
 * Soft reset (DECSTR), after leaving the alternate screen, and what it leaves on: character sets,
 * mouse reports, focus reports, bracketed paste, colours.
 */
const MODES_OFF =
  "\x1b[?1049l\x1b[!p\x1b(B\x0f\x1b[?9;1000;1002;1003;1004;1005;1006;1015;1016;2004l\x1b[?7h\x1b[m";

/** The terminal in its place on the page. */
export class ConsoleTerminal {
  readonly guestClipboard = new GuestClipboard();
  readonly #term: Terminal;
  readonly #fit = new FitAddon();
  readonly #search = new SearchAddon({ highlightLimit: 1000 });
  #colours: Colours | null = null;
  #finding = false;
  #replaying = 0;
  #fitting = 0;

  constructor(
    private readonly place: HTMLElement,
    private readonly listener: TerminalListener,
    fontSize: number,
    screenReader: boolean,
  ) {
    // Left at their safe defaults on purpose: windowOptions (no window operations, no title
    // reports) and the renderer, whose rows are DOM text (.xterm-rows) that can be read. The
    // guest's title (OSC 0 and 2) is not listened to: the page's title names the instance.
    this.#term = new Terminal({
      allowProposedApi: true, // unicode versions and search decorations are still "proposed"
      cursorBlink: false,
      disableStdin: true,
      fontFamily: FONT,
      fontSize,
      // At 1 the underscore of some fonts is cut off by the row below.
      lineHeight: 1.15,
      linkHandler: { activate: (_event, address) => listener.linkChosen(address) },
      macOptionIsMeta: true,
      minimumContrastRatio: 4.5,
      screenReaderMode: screenReader,
      scrollback: 10_000,
    });
    this.#term.loadAddon(this.#fit);
    this.#term.loadAddon(this.#search);
    this.#term.loadAddon(new Unicode11Addon());
    this.#term.unicode.activeVersion = "11";
    this.#term.loadAddon(new WebLinksAddon((_event, address) => listener.linkChosen(address)));
    this.guestClipboard.attach(this.#term);
    this.#term.attachCustomKeyEventHandler((event) => this.#key(event));
    this.#term.onData((text) => {
      if (this.#replaying === 0) listener.typed(text);
    });
    this.#term.onResize((size) => listener.resized({ rows: size.rows, cols: size.cols }));
    this.#term.onBinary((text) => listener.reported(encodeBinary(text)));
    this.#search.onDidChangeResults(({ resultIndex, resultCount }) =>
      listener.found(resultIndex, resultCount),
    );
    this.#term.open(place);
    keepInverse(this.#term);
    this.#term.textarea?.setAttribute(
      "aria-label",
      "Terminal input. Tab goes to the guest; Control Shift L moves to the toolbar.",
    );
    place.addEventListener("paste", (event) => this.#pasted(event), { capture: true });
    this.#scrollByTouch();
    new ResizeObserver(() => this.#refit()).observe(place);
  }

  /** Draws wire bytes. xterm itself slices big writes so that the tab stays responsive. */
  write(bytes: Uint8Array, drawn: () => void): void {
    this.#term.write(bytes, drawn);
  }

  /**
   * Draws scrollback that was shown before: what it asks the terminal is not answered again, or
   * the answers would be typed into the guest.
   */
  replay(bytes: Uint8Array, drawn: () => void): void {
    this.#term.write("", () => (this.#replaying += 1));
    this.#term.write(bytes, () => {
      this.#replaying -= 1;
      drawn();
    });
  }

  /** Ends a half-received escape sequence (CAN), where bytes are missing. */
  endSequence(): void {
    this.#term.write(CAN);
  }

  /** Clears screen and scrollback (RIS), in its turn after what is still to be drawn. */
  startOver(): void {
    this.#term.write(`${CAN}\x1bc`);
  }

  /** A clean screen for another session; what was on it goes into the scrollback. */
  startAfresh(): void {
    const { options } = this.#term;
    this.#term.write(CAN + MODES_OFF, () => {
      options.scrollOnEraseInDisplay = true;
    });
    this.#term.write("\x1b[2J\x1b[H", () => {
      options.scrollOnEraseInDisplay = false;
    });
  }

  /** Whether keys go to the guest; otherwise Tab and the like are the browser's. */
  set live(live: boolean) {
    this.#term.options.disableStdin = !live;
  }

  set fontSize(size: number) {
    this.#term.options.fontSize = size;
    this.#refit();
  }

  set screenReader(on: boolean) {
    this.#term.options.screenReaderMode = on;
  }

  set colours(colours: Colours) {
    this.#colours = colours;
    this.#paint();
  }

  get selection(): string {
    return this.#term.getSelection();
  }

  /** Whether the guest asked for mouse events, so that clicks are its own. */
  get mouseTaken(): boolean {
    return this.#term.modes.mouseTrackingMode !== "none";
  }

  get applicationCursor(): boolean {
    return this.#term.modes.applicationCursorKeysMode;
  }

  get size(): { rows: number; cols: number } {
    return { rows: this.#term.rows, cols: this.#term.cols };
  }

  focus(): void {
    this.#term.focus();
  }

  /** Sends text as if typed. */
  type(text: string): void {
    this.#term.input(text, true);
  }

  paste(text: string): void {
    const clean = cleanPaste(text);
    if (clean.length <= SMALL) {
      this.#term.paste(clean);
      return;
    }
    this.#term.scrollToBottom();
    this.listener.pasted(pasteOf(clean, this.#term.modes.bracketedPasteMode));
  }

  selectAll(): void {
    this.#term.selectAll();
  }

  clear(): void {
    this.#term.clear();
  }

  reset(): void {
    this.#term.reset();
  }

  /** Looks for text; `incremental` keeps the present match while it still fits. */
  find(text: string, direction: "next" | "previous", incremental = false): void {
    const options: ISearchOptions = { incremental };
    const matches = this.#colours?.matches;
    if (matches !== undefined) {
      options.decorations = {
        matchBackground: matches.match,
        matchOverviewRuler: matches.match,
        activeMatchBackground: matches.active,
        activeMatchColorOverviewRuler: matches.active,
      };
    }
    this.#finding = true;
    this.#paint();
    if (direction === "next") this.#search.findNext(text, options);
    else this.#search.findPrevious(text, options);
  }

  endFind(): void {
    this.#search.clearDecorations();
    this.#finding = false;
    this.#paint();
  }

  /** The active match is a selection without focus, so that is painted as the match. */
  #paint(): void {
    if (this.#colours === null) return;
    const { terminal, matches } = this.#colours;
    this.#term.options.theme = this.#finding
      ? { ...terminal, selectionInactiveBackground: matches.active }
      : terminal;
  }

  #key(event: KeyboardEvent): boolean {
    if (event.type === "keydown" && this.listener.keyPressed(event)) return false;
    if (this.#live) return true;
    if (event.type === "keydown" && isTyping(event)) this.listener.typedInVain();
    return false;
  }

  get #live(): boolean {
    return this.#term.options.disableStdin !== true;
  }

  #pasted(event: ClipboardEvent): void {
    event.preventDefault();
    event.stopPropagation();
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!this.#live) this.listener.typedInVain();
    else if (text !== "") this.paste(text);
  }

  #refit(): void {
    cancelAnimationFrame(this.#fitting);
    this.#fitting = requestAnimationFrame(() => this.#fit.fit());
  }

  /** xterm scrolls by wheel only; a finger moves the scrollback line by line. */
  #scrollByTouch(): void {
    let from: number | null = null;
    this.place.addEventListener("touchstart", (event) => {
      from = event.touches.length === 1 ? (event.touches[0]?.clientY ?? null) : null;
    }, { passive: true });
    this.place.addEventListener("touchmove", (event) => {
      const touch = event.touches[0];
      if (from === null || touch === undefined) return;
      const line = this.place.clientHeight / this.#term.rows;
      const lines = Math.trunc((from - touch.clientY) / line);
      if (lines === 0) return;
      from -= lines * line;
      this.#term.scrollLines(lines);
    }, { passive: true });
  }
}

/** Whether somebody who presses this key means to type, not to command the browser. */
function isTyping(event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  return event.key.length === 1 || event.key === "Enter" || event.key === "Backspace";
}

interface RowFactory {
  _applyMinimumContrast(element: HTMLElement, ground: unknown, ink: unknown, ...rest: unknown[]): boolean;
}

/**
 * Inverse video in the default colours: xterm 6.0 checks its contrast as if the text still had
 * the foreground colour, which is now the ground, and paints it grey. Those two are one object
 * there, and only there, so that check is skipped. Without these internals nothing changes.
 */
function keepInverse(terminal: Terminal): void {
  const inside = terminal as unknown as {
    _core?: { _renderService?: { _renderer?: { value?: { _rowFactory?: RowFactory } } } };
  };
  const rows = inside._core?._renderService?._renderer?.value?._rowFactory;
  const original = rows?._applyMinimumContrast;
  if (rows === undefined || typeof original !== "function") return;
  rows._applyMinimumContrast = (element, ground, ink, ...rest) =>
    ground !== ink && original.call(rows, element, ground, ink, ...rest);
}

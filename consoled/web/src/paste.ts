/** A large paste on its way to the guest: in pieces, as fast as the server lets them through. */

/** UTF-16 units up to which a paste is sent as if it were typed: it is over at once. */
export const SMALL = 1024;

/** Bytes that may be on their way and not yet at the console: less than the server lets wait. */
export const WINDOW = 8 * 1024;

/** Bytes of one piece. */
const PIECE = 1024;

/** What a program that asks for bracketed paste gets around it. */
const BEGIN = "\x1b[200~";
const END = "\x1b[201~";

/** Ctrl-C, Ctrl-Z, Ctrl-\: what makes a terminal drop the input that waits (termios, ISIG). */
const INTERRUPTS: ReadonlySet<number> = new Set([0x03, 0x1a, 0x1c]);

const utf8 = new TextEncoder();

/** One paste, as the guest gets it. */
export interface Paste {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly bracketed: boolean;
}

/**
 * Text from the clipboard as a terminal types it: lines end with Return.
 *
 * @param bracketed whether the guest's program has asked for bracketed paste.
 */
export function pasteOf(text: string, bracketed: boolean): Paste {
  const typed = text.replace(/\r?\n/g, "\r");
  return { bytes: utf8.encode(bracketed ? BEGIN + typed + END : typed), bracketed };
}

/**
 * What has to follow a paste that was cut off, so that the guest gets no half character and its
 * program knows that the paste is over.
 *
 * @param gone how many of its bytes the guest has.
 */
export function endOf(paste: Paste, gone: number): Uint8Array<ArrayBuffer> {
  const { bytes, bracketed } = paste;
  if (gone <= 0 || gone >= bytes.length) return new Uint8Array(0);
  if (bracketed && gone > bytes.length - END.length) return bytes.slice(gone);
  let end = bracketed ? Math.max(gone, BEGIN.length) : gone;
  while (end < bytes.length && ((bytes[end] as number) & 0xc0) === 0x80) end += 1;
  return Uint8Array.of(...bytes.subarray(gone, end), ...(bracketed ? utf8.encode(END) : []));
}

/** How far a paste is, in bytes. */
export interface Progress {
  readonly sent: number;
  readonly total: number;
}

/** Why a paste ended early. */
export type Stop = "cancelled" | "dropped" | "broken";

/** What is needed of the wire. */
export interface PasteWire {
  /** Whether the server takes input now, and says where a paste is. */
  readonly counts: boolean;
  send(bytes: Uint8Array<ArrayBuffer>): void;
  /** The next so many bytes are a paste. */
  announce(bytes: number): void;
  /** What the server still holds back of it is to be dropped. */
  cancelPaste(): void;
}

/** What the page hears of a paste. */
export interface PasteListener {
  progressed(progress: Progress): void;
  finished(progress: Progress): void;
  stopped(progress: Progress, why: Stop): void;
}

interface Running {
  readonly paste: Paste;
  /** Bytes given to the socket. */
  given: number;
  /** Bytes at the console. */
  gone: number;
  cancelled: boolean;
}

/**
 * All input of the page goes through here, in its order: what is typed while a paste runs waits
 * behind it. An interrupt key does not: it cancels the paste.
 */
export class Pasting {
  #running: Running | null = null;
  #behind: (Paste | Uint8Array<ArrayBuffer>)[] = [];

  constructor(
    private readonly wire: PasteWire,
    private readonly listener: PasteListener,
  ) {}

  /** Input that is no paste. */
  type(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#running === null) {
      this.wire.send(bytes);
      return;
    }
    if (bytes.length === 1 && INTERRUPTS.has(bytes[0] as number)) this.cancel();
    this.#behind.push(bytes);
  }

  /** A large paste. */
  paste(paste: Paste): void {
    if (this.#running !== null) this.#behind.push(paste);
    else if (this.wire.counts) this.#begin(paste);
    else this.wire.send(paste.bytes);
  }

  /** The person wants no more of it, nor of what waits behind it. */
  cancel(): void {
    this.#behind = [];
    if (this.#running === null || this.#running.cancelled) return;
    this.#running.cancelled = true;
    this.wire.cancelPaste();
  }

  /**
   * The server says how many bytes of the paste are at the console.
   *
   * @param dropped whether the rest of it is lost: it was cancelled, here or there.
   */
  counted(bytes: number, dropped: boolean): void {
    const running = this.#running;
    if (running === null) return;
    running.gone = Math.max(running.gone, Math.min(bytes, running.given));
    if (running.gone === running.paste.bytes.length) {
      this.#running = null;
      this.listener.finished(progressOf(running));
      this.#next();
    } else if (dropped) {
      this.#cut(running);
    } else {
      this.listener.progressed(progressOf(running));
      if (!running.cancelled) this.#fill(running);
    }
  }

  /** The connection is gone. */
  broken(): void {
    const running = this.#running;
    this.#running = null;
    this.#behind = [];
    if (running !== null) this.listener.stopped(progressOf(running), "broken");
  }

  #begin(paste: Paste): void {
    const running = { paste, given: 0, gone: 0, cancelled: false };
    this.#running = running;
    this.wire.announce(paste.bytes.length);
    this.listener.progressed(progressOf(running));
    this.#fill(running);
  }

  #fill(running: Running): void {
    const { bytes } = running.paste;
    while (running.given < bytes.length && running.given - running.gone < WINDOW) {
      const piece = bytes.subarray(running.given, running.given + PIECE);
      running.given += piece.length;
      this.wire.send(piece);
    }
  }

  #cut(running: Running): void {
    if (!running.cancelled) {
      // Dropped there, by something else: this says that nothing more of it comes.
      this.wire.cancelPaste();
      this.#behind = [];
    }
    this.#running = null;
    const end = endOf(running.paste, running.gone);
    if (end.length > 0) this.wire.send(end);
    this.listener.stopped(progressOf(running), running.cancelled ? "cancelled" : "dropped");
    this.#next();
  }

  #next(): void {
    while (this.#running === null) {
      const next = this.#behind.shift();
      if (next === undefined) return;
      if (next instanceof Uint8Array) this.wire.send(next);
      else this.paste(next);
    }
  }
}

function progressOf(running: Running): Progress {
  return { sent: running.gone, total: running.paste.bytes.length };
}

/** The text frames of the subprotocol consoled.v1; its binary frames are the wire. */

/** The guest's port is connected; input may flow. */
export interface Hello {
  readonly type: "hello";
  readonly name: string;
  readonly console: number;
  /** Whether it is a shell, whose terminal has the size of this window. */
  readonly shell: boolean;
  /** Whether it is a pty, which the hypervisor gives to one at a time. */
  readonly pty: boolean;
  /** Names the session; "" where the server does not say. */
  readonly session: string;
  /** The right to come back to the session, or null where the server gives none. */
  readonly resume: string | null;
  /** The count of the guest's output bytes before the next one. */
  readonly offset: number;
  /** How many of the next bytes are scrollback that was shown to somebody before. */
  readonly replay: number;
  /** Whether the server drops input until the guest prints or the person confirms. */
  readonly unproven: boolean;
  /** Whether the person only watches: the server drops all input. */
  readonly watches: boolean;
  /** Whether the server says how far a paste is. */
  readonly countsPastes: boolean;
  /** Whether the person may send a BREAK, and the console can take one. */
  readonly breaks: boolean;
  /** Seconds in which the page waits for an instance that stopped to start again. */
  readonly linger: number;
}

/** A line for the person. */
export interface Notice {
  readonly type: "notice";
  readonly text: string;
  readonly warning: boolean;
  /** Whether it has no meaning any more once the person types. */
  readonly untilTyping: boolean;
}

/** Who has the console; said before a close with 4409. */
export interface Busy {
  readonly type: "busy";
  /** Who, where that may be told. */
  readonly user: string | null;
  /** Since when, where that may be told. */
  readonly since: Date | null;
  /** Whether it is this person's own, so that they may take it over. */
  readonly takeover: boolean;
  /** Whether this person may ask for it. */
  readonly ask: boolean;
  /** Whether this person may take it at once from whoever has it. */
  readonly force: boolean;
}

/** Who is on the console's line. */
export interface Viewers {
  readonly type: "viewers";
  /** Who types, or null for nobody. */
  readonly writer: string | null;
  readonly observers: readonly string[];
}

/** Somebody asks for this person's console. */
export interface Takeover {
  readonly type: "takeover";
  /** Who; null where nobody does any more. */
  readonly user: string | null;
  /** After which it is theirs. */
  readonly seconds: number;
}

/** The console was asked of its holder. */
export interface Waiting {
  readonly type: "waiting";
  /** Of whom, where that is known. */
  readonly user: string | null;
  /** After which it is this person's, at the latest. */
  readonly seconds: number;
}

export type Control = Hello | Notice | Busy | Viewers | Takeover | Waiting | Pasted;

/** How far the announced paste is. */
export interface Pasted {
  readonly type: "pasted";
  /** Bytes of it that are at the console. */
  readonly bytes: number;
  /** Whether the rest of it was dropped. */
  readonly dropped: boolean;
}

/** The longest resume key that is kept, in UTF-16 units. */
const LONGEST_KEY = 512;

/**
 * A control message, or null for one that this page does not know.
 *
 * @param text a text frame.
 */
export function parseControl(text: string): Control | null {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isRecord(message)) return null;
  switch (message.type) {
    case "hello":
      return hello(message);
    case "notice":
      return typeof message.text === "string"
        ? {
            type: "notice",
            text: message.text,
            warning: message.kind === "warning",
            untilTyping: message.until === "typing",
          }
        : null;
    case "busy":
      return {
        type: "busy",
        user: textOf(message.user) || null,
        since: time(message.since),
        takeover: message.takeover === true,
        ask: message.ask === true,
        force: message.force === true,
      };
    case "viewers":
      return {
        type: "viewers",
        writer: textOf(message.writer) || null,
        observers: list(message.observers).map(textOf).filter((name) => name !== ""),
      };
    case "takeover":
    case "waiting":
      return { type: message.type, user: textOf(message.user) || null, seconds: duration(message.seconds) };
    case "pasted":
      return { type: "pasted", bytes: count(message.bytes), dropped: typeof message.dropped === "number" };
    default:
      return null;
  }
}

/** The acknowledgement of all wire bytes up to a cumulative count. */
export function ack(bytes: number): string {
  return JSON.stringify({ type: "ack", bytes });
}

/** The person wants to type although the guest has said nothing yet. */
export function confirm(): string {
  return JSON.stringify({ type: "confirm" });
}

/** The person gives the console to whoever asks for it. */
export function handOver(): string {
  return JSON.stringify({ type: "handover" });
}

/** The next so many bytes of input are a paste. */
export function announcePaste(bytes: number): string {
  return JSON.stringify({ type: "paste", bytes });
}

/** What is still held back of the paste is to be dropped. */
export function cancelPaste(): string {
  return JSON.stringify({ type: "cancel" });
}

/** The page's terminal has this size. */
export function resize(columns: number, rows: number): string {
  return JSON.stringify({ type: "resize", columns, rows });
}

/** A BREAK for the guest, or a SysRq with that key. */
export function sendBreak(sysrq: string | null): string {
  return JSON.stringify(sysrq === null ? { type: "break" } : { type: "break", sysrq });
}

function hello(message: Record<string, unknown>): Hello {
  const instance = isRecord(message.instance) ? message.instance : {};
  const resume = textOf(message.resume);
  return {
    type: "hello",
    name: typeof instance.name === "string" ? instance.name : textOf(instance.uuid),
    console: Number.isInteger(message.console) ? (message.console as number) : 0,
    shell: message.console_type === "ssh",
    pty: message.kind === "pty",
    session: textOf(message.session),
    resume: resume === "" || resume.length > LONGEST_KEY ? null : resume,
    offset: count(message.offset),
    replay: count(message.replay),
    unproven: message.unproven === true,
    watches: message.role === "observer",
    countsPastes: typeof message.paste_rate === "number",
    breaks: message.breaks === true,
    linger: duration(message.linger),
  };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function count(value: unknown): number {
  return Number.isSafeInteger(value) && (value as number) > 0 ? (value as number) : 0;
}

/** Seconds, an hour at most. */
function duration(value: unknown): number {
  return typeof value === "number" && value > 0 ? Math.min(value, 3600) : 0;
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function time(value: unknown): Date | null {
  const date = new Date(textOf(value));
  return Number.isNaN(date.getTime()) ? null : date;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The text frames of the subprotocol consoled.v1; its binary frames are the wire. */

/** The guest's port is connected; input may flow. */
export interface Hello {
  readonly type: "hello";
  readonly name: string;
  readonly console: number;
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
}

/** A line for the person. */
export interface Notice {
  readonly type: "notice";
  readonly text: string;
  readonly warning: boolean;
}

/** Who has the console; said before a close with 4409. */
export interface Busy {
  readonly type: "busy";
  /** Who, where that may be told. */
  readonly user: string | null;
  /** Since when, where that may be told. */
  readonly since: Date | null;
  /** Whether this person may take the console over. */
  readonly takeover: boolean;
}

/** The longest resume key that is kept, in UTF-16 units. */
const LONGEST_KEY = 512;

/**
 * A control message, or null for one that this page does not know.
 *
 * @param text a text frame.
 */
export function parseControl(text: string): Hello | Notice | Busy | null {
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
        ? { type: "notice", text: message.text, warning: message.kind === "warning" }
        : null;
    case "busy":
      return {
        type: "busy",
        user: textOf(message.user) || null,
        since: time(message.since),
        takeover: message.takeover === true,
      };
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

function hello(message: Record<string, unknown>): Hello {
  const instance = isRecord(message.instance) ? message.instance : {};
  const resume = textOf(message.resume);
  return {
    type: "hello",
    name: typeof instance.name === "string" ? instance.name : textOf(instance.uuid),
    console: Number.isInteger(message.console) ? (message.console as number) : 0,
    session: textOf(message.session),
    resume: resume === "" || resume.length > LONGEST_KEY ? null : resume,
    offset: count(message.offset),
    replay: count(message.replay),
    unproven: message.unproven === true,
  };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function count(value: unknown): number {
  return Number.isSafeInteger(value) && (value as number) > 0 ? (value as number) : 0;
}

function time(value: unknown): Date | null {
  const date = new Date(textOf(value));
  return Number.isNaN(date.getTime()) ? null : date;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

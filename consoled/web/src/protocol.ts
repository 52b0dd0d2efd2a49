/** The text frames of the subprotocol consoled.v1; its binary frames are the wire. */

/** The guest's port is connected; input may flow. */
export interface Hello {
  readonly type: "hello";
  readonly name: string;
  readonly console: number;
}

/** A line for the person. */
export interface Notice {
  readonly type: "notice";
  readonly text: string;
}

/**
 * A control message, or null for one that this page does not know.
 *
 * @param text a text frame.
 */
export function parseControl(text: string): Hello | Notice | null {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isRecord(message)) return null;
  if (message.type === "notice" && typeof message.text === "string") {
    return { type: "notice", text: message.text };
  }
  if (message.type === "hello") {
    const instance = isRecord(message.instance) ? message.instance : {};
    const name = typeof instance.name === "string" ? instance.name : instance.uuid;
    return {
      type: "hello",
      name: typeof name === "string" ? name : "",
      console: Number.isInteger(message.console) ? (message.console as number) : 0,
    };
  }
  return null;
}

/** The acknowledgement of all wire bytes up to a cumulative count. */
export function ack(bytes: number): string {
  return JSON.stringify({ type: "ack", bytes });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

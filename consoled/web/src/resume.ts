/** How a new connection continues what is on the screen, by offsets of the guest's output. */

/** Where in a session's output the page is. */
export interface Place {
  readonly session: string;
  /** The count of the session's output bytes that the page has, or knows to be lost. */
  readonly position: number;
}

export type Join =
  /** The first connection of this page: the screen is empty. */
  | { readonly kind: "first" }
  /** The very next byte comes next. */
  | { readonly kind: "seamless" }
  /** So many bytes are missing before the next one. */
  | { readonly kind: "lost"; readonly bytes: number }
  /** Bytes that were shown come again. */
  | { readonly kind: "replayed" }
  /** Another session: what comes has nothing to do with what is on the screen. */
  | { readonly kind: "new" };

/**
 * What a connection's start means for the screen.
 *
 * @param before where the page was, or null where it had no connection yet.
 * @param start where the connection starts.
 */
export function joinOf(before: Place | null, start: Place): Join {
  if (before === null) return { kind: "first" };
  if (before.session === "" || before.session !== start.session) return { kind: "new" };
  const ahead = start.position - before.position;
  if (ahead === 0) return { kind: "seamless" };
  return ahead > 0 ? { kind: "lost", bytes: ahead } : { kind: "replayed" };
}

/** What the person is told whose page went on in another session, by itself. */
export const NEW_SESSION =
  "This is a new session: the one before has ended. Its screen is in the scrollback above; " +
  "what the guest printed in between was not kept.";

/** What the person is told about missing output. */
export function lostWords(bytes: number): string {
  return bytes === 1
    ? "1 byte of output was lost while the connection was away."
    : `${bytes} bytes of output were lost while the connection was away.`;
}

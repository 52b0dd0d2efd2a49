/** When a broken connection is dialled again. */

/** Milliseconds before each of the first attempts, at most. */
const DELAYS: readonly number[] = [500, 1000, 2000, 4000, 8000];

/** Milliseconds before each later one, at most. */
const STEADY = 15_000;

/** Milliseconds after which nothing more is tried. */
export const GIVE_UP = 5 * 60_000;

/** Milliseconds that one attempt may take to reach the console. */
export const PATIENCE = 20_000;

/**
 * The closes that nobody meant: no status, a broken connection, a server that stops, restarts or
 * is overloaded (RFC 6455, section 7.4.1, and its registry).
 */
const BREAKS: ReadonlySet<number> = new Set([1001, 1005, 1006, 1012, 1013]);

/** The instance is not running (docs/protocol.rst). */
export const STOPPED = 4413;

/** An error inside, or a console that refused: an instance that starts has its ports in a moment. */
const REFUSED = 1011;

/** Milliseconds between two looks whether an instance that stopped runs again, at most. */
const WAITING = 3000;

/** Whether a close with this code, while the start of an instance is waited for, ends the wait. */
export function endsWait(code: number): boolean {
  return code !== STOPPED && code !== REFUSED && !isBreak(code);
}

/**
 * Milliseconds to wait before the next look whether the instance runs again, or null to give up.
 *
 * @param linger milliseconds from its stop in which that is worth it.
 */
export function delayToStart(tried: number, elapsed: number, chance: number, linger: number): number | null {
  if (elapsed >= linger) return null;
  return Math.min(DELAYS[tried] ?? WAITING, WAITING) * (0.5 + chance / 2);
}

/** Whether a connection that closed with this code broke without anybody's intent. */
export function isBreak(code: number): boolean {
  return BREAKS.has(code);
}

/**
 * Milliseconds to wait before the next attempt, or null to give up.
 *
 * Half to all of the delay: the pages of a daemon that restarts do not come back all at once.
 *
 * @param tried how many attempts there were.
 * @param elapsed milliseconds since the connection broke.
 * @param chance a number from 0 to 1, by chance.
 */
export function delayBefore(tried: number, elapsed: number, chance: number): number | null {
  return elapsed >= GIVE_UP ? null : (DELAYS[tried] ?? STEADY) * (0.5 + chance / 2);
}

/** Who else is on the console, in words. */

import type { Viewers } from "./protocol.js";
import { plain } from "./states.js";

/** Company in a few words, and each of them by name. */
export interface Company {
  readonly summary: string;
  readonly names: readonly string[];
}

/**
 * The company of this person, or null where they are alone.
 *
 * @param watching whether the person watches: then one of the observers is they themselves, and
 *   the server does not say which.
 */
export function companyOf(viewers: Viewers, watching: boolean): Company | null {
  const observers = viewers.observers.map(name);
  if (!watching) {
    if (observers.length === 0) return null;
    return { summary: watchers(observers), names: observers };
  }
  const others = Math.max(0, observers.length - 1);
  const names = observers.map((observer) => `${observer} is watching`);
  if (viewers.writer === null) {
    return others === 0 ? null : { summary: `${others} more watching`, names };
  }
  const writer = name(viewers.writer);
  const more = others === 0 ? "" : `, ${others} more watching`;
  return { summary: `${writer} has the console${more}`, names: [`${writer} has the console`, ...names] };
}

function watchers(observers: readonly string[]): string {
  return observers.length === 1 ? `${observers[0]} is watching` : `${observers.length} watching`;
}

function name(user: string): string {
  return plain(user, 100).trim() || "somebody";
}

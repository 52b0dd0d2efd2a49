/** Whose turn is next, in words: a console that was asked for, or is asked of this person. */

import { userWords } from "./states.js";

/** Whole seconds until a moment, 0 when it has come; both in milliseconds of one clock. */
export function secondsLeft(until: number, now: number): number {
  return Math.max(0, Math.ceil((until - now) / 1000));
}

/** To whoever has asked. */
export function askedWords(user: string | null, seconds: number): string {
  const when = seconds > 0 ? `in ${seconds} s` : "in a moment";
  return `Asked ${userWords(user)}; the console is yours ${when}.`;
}

/** To whoever is asked. */
export function requestWords(user: string, seconds: number): string {
  const when = seconds > 0 ? `in ${seconds} s` : "now";
  return `${userWords(user)} asks for this console; it goes to them ${when}.`;
}

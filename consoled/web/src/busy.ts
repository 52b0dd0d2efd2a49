/** Who has a busy console, in words. */

import type { Busy } from "./protocol.js";
import { plain, type Claim, type Ending } from "./states.js";

const ADVICE: Readonly<Record<string, string>> = {
  ask: "Ask for it: its user is told, and it is yours after a short while.",
  force: "You may take it at once; its user is then disconnected.",
  "ask+force": "Ask for it, and it is yours after a short while; or take it at once.",
};

/**
 * The ending of a refused connection, told by who has the console.
 *
 * @param refused what the close itself says.
 * @param now to leave out today's date.
 * @param locale of the time; the browser's own by default.
 */
export function busyEnding(refused: Ending, busy: Busy, now: Date, locale?: string): Ending {
  const since = busy.since === null ? "" : ` since ${timeWords(busy.since, now, locale)}`;
  if (busy.takeover) {
    return {
      ...refused,
      reason: `you have had this console open in another window${since}`,
      advice: "Take it over to go on here; the other window is then disconnected.",
      claims: ["takeover"],
    };
  }
  const user = plain(busy.user ?? "", 100).trim();
  const told = user === "" ? refused : { ...refused, reason: `user ${user} has had this console open${since}` };
  const claims: Claim[] = [];
  if (busy.ask) claims.push("ask");
  if (busy.force) claims.push("force");
  return claims.length === 0 ? told : { ...told, advice: ADVICE[claims.join("+")] ?? told.advice, claims };
}

/** A time of day, with the date where it is not today's; in the person's own time zone. */
export function timeWords(when: Date, now: Date, locale?: string): string {
  const sameDay = when.toDateString() === now.toDateString();
  const time: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit" };
  const date: Intl.DateTimeFormatOptions = { day: "numeric", month: "short", year: "numeric" };
  return when.toLocaleString(locale, sameDay ? time : { ...date, ...time });
}

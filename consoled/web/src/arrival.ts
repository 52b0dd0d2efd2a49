/** What a page comes with, before anything else can see it in the address bar. */

import { newSlot, slotOf, tokenFrom, TokenKeeper } from "./token.js";

/** A page's token, and where this tab keeps what belongs to it. */
export interface Arrival {
  readonly token: string;
  readonly shelf: Storage | null;
  readonly slot: string;
}

/** Takes the token out of the address bar, or finds it again after a reload; null without one. */
export function arrive(): Arrival | null {
  let shelf: Storage | null = null;
  try {
    shelf = sessionStorage;
  } catch {
    // Refused to this frame: what the page has to keep lives in memory.
  }
  const keeper = new TokenKeeper(shelf);
  const given = tokenFrom(location.search);
  const slot = given === null ? slotOf(history.state) : newSlot((bytes) => crypto.getRandomValues(bytes));
  history.replaceState(slot === null ? null : { slot }, "", location.pathname);
  if (slot === null) return null;
  if (given !== null) keeper.keep(slot, given);
  const token = keeper.find(slot);
  return token === null ? null : { token, shelf, slot };
}

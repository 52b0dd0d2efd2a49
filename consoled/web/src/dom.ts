/** What the page's own HTML promises. */

/**
 * An element of serial.html.
 *
 * @throws Error where the HTML and the script are not of one build.
 */
export function byId<T extends HTMLElement>(id: string, kind: abstract new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`serial.html has no #${id}`);
  return element;
}

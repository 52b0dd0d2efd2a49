/** What the page's own HTML promises. */

/**
 * An element of the page.
 *
 * @throws Error where the HTML and the script are not of one build.
 */
export function byId<T extends HTMLElement>(id: string, kind: abstract new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`the page has no #${id}`);
  return element;
}

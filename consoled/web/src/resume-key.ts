/** The resume key's way over a reload, in this tab's sessionStorage beside the token. */

/** What is needed of sessionStorage, which browsers may refuse to a framed page. */
export type KeyShelf = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/**
 * Keeps one page's resume key.
 *
 * The key is on the shelf only while the page is hidden or leaving. A tab that is duplicated gets
 * a copy of sessionStorage; with the key in it the copy would silently take the console from the
 * tab that the person is looking at, instead of being offered to take it over.
 */
export class ResumeKeeper {
  readonly #name: string;
  #key: string | null;
  #shelved = false;

  /**
   * @param shelf this tab's sessionStorage, or null where the browser refuses it.
   * @param slot the slot of this page's token.
   */
  constructor(private readonly shelf: KeyShelf | null, slot: string) {
    this.#name = `consoled.resume.${slot}`;
    this.#key = this.#found();
  }

  /** The key, or null. */
  get key(): string | null {
    return this.#key;
  }

  set key(key: string | null) {
    this.#key = key;
    this.shelve(this.#shelved);
  }

  /** Puts the key where a reload finds it, or takes it from there. */
  shelve(on: boolean): void {
    this.#shelved = on;
    try {
      if (on && this.#key !== null) this.shelf?.setItem(this.#name, this.#key);
      else this.shelf?.removeItem(this.#name);
    } catch {
      // Blocked or full: memory serves until the page is left.
    }
  }

  #found(): string | null {
    try {
      return this.shelf?.getItem(this.#name) ?? null;
    } catch {
      return null;
    }
  }
}

/** Menus after the ARIA menu button pattern: operable by keyboard, mouse and touch. */

/** One entry. */
export interface Item {
  /** Its stable name, in `data-action`. */
  readonly action: string;
  readonly label: string;
  /** What a screen reader says, where the label alone is not enough. */
  readonly spoken?: string;
  /** A keyboard shortcut, shown beside it. */
  readonly hint?: string;
  /** Present on switches: "check" for one of its own, "radio" for one of several. */
  readonly kind?: "check" | "radio";
  readonly checked?: () => boolean;
  readonly enabled?: () => boolean;
  /** Whether the menu stays open, for what one does several times. */
  readonly stays?: boolean;
  /** Whether it opens another menu. */
  readonly opens?: boolean;
  run(): void;
}

/** Entries that stand together, in a list or (short ones) in a grid. */
export interface Section {
  readonly label: string;
  readonly layout: "list" | "grid";
  /** Whether the label is shown; it is always spoken. */
  readonly titled?: boolean;
  readonly items: readonly Item[];
}

/** Where a menu opens: under its button, or at a point of the window. */
type Anchor = HTMLElement | { readonly x: number; readonly y: number };

/** One menu at a time, in one place of the page. */
export class Menu {
  #button: HTMLButtonElement | null = null;
  #entries: { item: Item; element: HTMLButtonElement }[] = [];

  /**
   * @param box the element that becomes the menu.
   * @param leave gives the focus back where no button opened the menu.
   */
  constructor(
    private readonly box: HTMLElement,
    private readonly leave: () => void,
  ) {
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("focusout", (event) => {
      const to = event.relatedTarget;
      if (to instanceof Node && !box.contains(to) && to !== this.#button) this.#hide();
    });
    addEventListener("pointerdown", (event) => {
      const at = event.target;
      if (!(at instanceof Node) || box.contains(at) || this.#button?.contains(at)) return;
      this.#hide();
    }, { capture: true });
    addEventListener("blur", () => this.#hide());
    addEventListener("resize", () => this.#hide());
  }

  /** Makes a button open and close a menu. */
  attach(button: HTMLButtonElement, sections: () => readonly Section[]): void {
    button.setAttribute("aria-haspopup", "menu");
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-controls", this.box.id);
    button.addEventListener("click", () => {
      if (this.#button === button) this.close();
      else this.#open(button, sections(), button, button.textContent ?? "");
    });
    button.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
      event.preventDefault();
      this.#open(button, sections(), button, button.textContent ?? "");
      if (event.key === "ArrowUp") this.#focus(this.#entries.length - 1);
    });
  }

  /** Opens at a point, as a context menu. */
  openAt(point: { x: number; y: number }, label: string, sections: readonly Section[]): void {
    this.#open(point, sections, null, label);
  }

  /** Closes, and gives the focus back. */
  close(): void {
    if (this.box.hidden) return;
    const button = this.#button;
    this.#hide();
    if (button !== null) button.focus();
    else this.leave();
  }

  #open(
    anchor: Anchor,
    sections: readonly Section[],
    button: HTMLButtonElement | null,
    label: string,
  ): void {
    this.#hide();
    this.#button = button;
    button?.setAttribute("aria-expanded", "true");
    this.#entries = [];
    this.box.setAttribute("aria-label", label);
    this.box.replaceChildren(...sections.map((section) => this.#section(section)));
    this.box.hidden = false;
    this.#place(anchor);
    this.#focus(this.#entries.findIndex(({ element }) => !isOff(element)));
  }

  #hide(): void {
    if (this.box.hidden) return;
    this.box.hidden = true;
    this.#button?.setAttribute("aria-expanded", "false");
    this.#button = null;
  }

  #section(section: Section): HTMLElement {
    const group = document.createElement("div");
    group.className = `menu-section menu-${section.layout}`;
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", section.label);
    if (section.titled === true) {
      const title = document.createElement("div");
      title.className = "menu-title";
      title.setAttribute("aria-hidden", "true");
      title.textContent = section.label;
      group.append(title);
    }
    for (const item of section.items) {
      const element = this.#entry(item);
      this.#entries.push({ item, element });
      group.append(element);
    }
    return group;
  }

  #entry(item: Item): HTMLButtonElement {
    const element = document.createElement("button");
    element.type = "button";
    element.tabIndex = -1;
    element.dataset.action = item.action;
    element.setAttribute("role", item.kind === undefined ? "menuitem" : `menuitem${item.kind === "check" ? "checkbox" : "radio"}`);
    if (item.opens === true) element.setAttribute("aria-haspopup", "menu");
    if (item.spoken !== undefined) element.setAttribute("aria-label", item.spoken);
    const label = document.createElement("span");
    label.textContent = item.label;
    element.append(label);
    if (item.hint !== undefined) {
      const hint = document.createElement("kbd");
      hint.textContent = item.hint;
      element.append(hint);
      element.setAttribute("aria-keyshortcuts", item.hint.replace("Ctrl", "Control"));
    }
    refresh(item, element);
    element.addEventListener("click", () => this.#choose(item, element));
    element.addEventListener("pointermove", () => {
      if (document.activeElement !== element) element.focus({ preventScroll: true });
    });
    return element;
  }

  #choose(item: Item, element: HTMLButtonElement): void {
    if (isOff(element)) return;
    if (item.stays !== true) {
      // The focus goes to the terminal, where the person goes on; an entry may move it further.
      this.#hide();
      this.leave();
    }
    item.run();
    for (const entry of this.#entries) refresh(entry.item, entry.element);
  }

  #key(event: KeyboardEvent): void {
    const at = this.#entries.findIndex(({ element }) => element === document.activeElement);
    const last = this.#entries.length - 1;
    const to = this.#target(event, at, last);
    if (event.key === "Escape") this.close();
    else if (event.key === "Tab") this.close();
    else if (to !== null) this.#focus(to);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #target(event: KeyboardEvent, at: number, last: number): number | null {
    switch (event.key) {
      case "Home":
        return 0;
      case "End":
        return last;
      case "ArrowRight":
        return at === last ? 0 : at + 1;
      case "ArrowLeft":
        return at <= 0 ? last : at - 1;
      case "ArrowDown":
        return this.#nearest(at, 1) ?? 0;
      case "ArrowUp":
        return this.#nearest(at, -1) ?? last;
      default:
        return event.key.length === 1 && !event.ctrlKey && !event.altKey && !event.metaKey && event.key !== " "
          ? this.#named(event.key.toLowerCase(), at)
          : null;
    }
  }

  /** The entry in the next row up or down that is closest to the one at `at`. */
  #nearest(at: number, direction: 1 | -1): number | null {
    const boxes = this.#entries.map(({ element }) => element.getBoundingClientRect());
    const from = boxes[at];
    if (from === undefined) return null;
    let best: number | null = null;
    let cost = Infinity;
    boxes.forEach((box, index) => {
      const rows = (box.top - from.top) * direction;
      if (rows < from.height / 2) return;
      const price = rows * 1000 + Math.abs(box.left - from.left);
      if (price < cost) [best, cost] = [index, price];
    });
    return best;
  }

  #named(letter: string, after: number): number | null {
    const count = this.#entries.length;
    for (let step = 1; step <= count; step++) {
      const index = (after + step) % count;
      if (this.#entries[index]?.item.label.toLowerCase().startsWith(letter)) return index;
    }
    return null;
  }

  #focus(index: number): void {
    this.#entries[index]?.element.focus();
  }

  #place(anchor: Anchor): void {
    const margin = 8;
    const point =
      anchor instanceof HTMLElement
        ? { x: anchor.getBoundingClientRect().left, y: anchor.getBoundingClientRect().bottom + 4 }
        : anchor;
    const { style } = this.box;
    style.left = style.top = "0"; // where nothing narrows it while it is measured
    style.maxHeight = `${innerHeight - 2 * margin}px`;
    const box = this.box.getBoundingClientRect();
    if (anchor instanceof HTMLElement) style.maxHeight = `${innerHeight - point.y - margin}px`;
    const down = anchor instanceof HTMLElement ? point.y : Math.min(point.y, innerHeight - box.height - margin);
    style.left = `${Math.max(margin, Math.min(point.x, innerWidth - box.width - margin))}px`;
    style.top = `${Math.max(margin, down)}px`;
  }
}

function refresh(item: Item, element: HTMLButtonElement): void {
  if (item.kind !== undefined) element.setAttribute("aria-checked", String(item.checked?.() ?? false));
  // Not the disabled attribute: a menu's entries keep their place in the arrow keys' way.
  element.setAttribute("aria-disabled", String(item.enabled?.() === false));
}

function isOff(element: HTMLElement): boolean {
  return element.getAttribute("aria-disabled") === "true";
}

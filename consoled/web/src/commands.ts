/** Everything that a person can have the page do, as menu entries. */

import { bytesOf, KEY_GROUPS } from "./keys.js";
import type { Item, Section } from "./menu.js";
import { THEMES, type Theme } from "./preferences.js";

/** What the menus act on. */
export interface Actions {
  readonly hasSelection: boolean;
  readonly live: boolean;
  /** Whether the guest knows the window's size by itself. */
  readonly sized: boolean;
  readonly applicationCursor: boolean;
  readonly theme: Theme;
  readonly screenReader: boolean;
  guestClipboard: boolean;
  copy(): void;
  paste(): void;
  selectAll(): void;
  find(): void;
  clear(): void;
  reset(): void;
  type(text: string): void;
  typeSize(): void;
  resizeText(by: number): void;
  chooseTheme(theme: Theme): void;
  switchScreenReader(on: boolean): void;
}

const THEME_LABELS: Readonly<Record<Theme, string>> = {
  auto: "Follow the system",
  light: "Light",
  dark: "Dark",
};

/** Copy, paste and the like. */
export function editSections(on: Actions, mac: boolean): Section[] {
  const edit: Item[] = [
    { action: "copy", label: "Copy", hint: mac ? "⌘C" : "Ctrl+Shift+C", enabled: () => on.hasSelection, run: () => on.copy() },
    { action: "paste", label: "Paste", hint: mac ? "⌘V" : "Ctrl+Shift+V", enabled: () => on.live, run: () => on.paste() },
    { action: "select-all", label: "Select all", run: () => on.selectAll() },
    { action: "find", label: "Find…", hint: "Ctrl+Shift+F", run: () => on.find() },
  ];
  const clear: Item[] = [
    { action: "clear", label: "Clear scrollback", run: () => on.clear() },
    { action: "reset", label: "Reset terminal", run: () => on.reset() },
  ];
  return [
    { label: "Edit", layout: "list", items: edit },
    { label: "Screen", layout: "list", items: clear },
  ];
}

/** Keys that the browser or a phone's keyboard does not send. */
export function keySections(on: Actions): Section[] {
  const groups = KEY_GROUPS.map((group): Section => ({
    label: group.label,
    layout: "grid",
    titled: true,
    items: group.keys.map((key) => ({
      action: `key-${key.spoken.toLowerCase().replaceAll(" ", "-")}`,
      label: key.label,
      spoken: key.spoken,
      stays: group.label === "Cursor",
      enabled: () => on.live,
      run: () => on.type(bytesOf(key, on.applicationCursor)),
    })),
  }));
  const size: Item = {
    action: "type-size",
    label: "Type this window's size (stty)",
    enabled: () => on.live,
    run: () => on.typeSize(),
  };
  return on.sized ? groups : [...groups, { label: "Size", layout: "list", items: [size] }];
}

/** Text size, theme and switches. */
export function viewSections(on: Actions): Section[] {
  return [
    {
      label: "Text size",
      layout: "list",
      items: [
        { action: "larger", label: "Larger text", hint: "Ctrl+Shift+.", stays: true, run: () => on.resizeText(1) },
        { action: "smaller", label: "Smaller text", hint: "Ctrl+Shift+,", stays: true, run: () => on.resizeText(-1) },
      ],
    },
    {
      label: "Theme",
      layout: "list",
      titled: true,
      items: THEMES.map((theme): Item => ({
        action: `theme-${theme}`,
        label: THEME_LABELS[theme],
        kind: "radio",
        stays: true,
        checked: () => on.theme === theme,
        run: () => on.chooseTheme(theme),
      })),
    },
    {
      label: "Switches",
      layout: "list",
      items: [
        {
          action: "screen-reader",
          label: "Screen reader support",
          kind: "check",
          stays: true,
          checked: () => on.screenReader,
          run: () => on.switchScreenReader(!on.screenReader),
        },
        {
          action: "guest-clipboard",
          label: "Guest may set my clipboard",
          kind: "check",
          stays: true,
          checked: () => on.guestClipboard,
          run: () => {
            on.guestClipboard = !on.guestClipboard;
          },
        },
      ],
    },
  ];
}

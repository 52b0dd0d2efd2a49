/** BREAK and SysRq as menu entries, for whom the server lets send them. */

import type { Item, Section } from "./menu.js";
import { DANGEROUS, HARMLESS, type SysrqKey } from "./sysrq.js";

/** What the entries act on. */
export interface BreakActions {
  /** Whether the person types into an open console. */
  readonly live: boolean;
  /** Whether this person may, and the console can. */
  readonly allowed: boolean;
  /** Sends a BREAK alone. */
  send(): void;
  /** Opens the menu of {@link sysrqSections}. */
  choose(): void;
  /** Sends a SysRq, or asks first. */
  sendSysrq(key: SysrqKey): void;
}

/** The entries of the menu with the keys; none where nothing may be sent. */
export function breakSections(on: BreakActions): Section[] {
  if (!on.allowed) return [];
  const items: Item[] = [
    { action: "break", label: "Send BREAK", enabled: () => on.live, run: () => on.send() },
    { action: "sysrq", label: "SysRq…", opens: true, enabled: () => on.live, run: () => on.choose() },
  ];
  return [{ label: "Line", layout: "list", items }];
}

/** The menu of SysRq; typing a key's letter goes to its entry. */
export function sysrqSections(on: BreakActions): Section[] {
  const item = (key: SysrqKey): Item => ({
    action: `sysrq-${key.key}`,
    label: `${key.key}  ${key.label}`,
    enabled: () => on.live,
    run: () => on.sendSysrq(key),
  });
  return [
    { label: "SysRq", layout: "list", titled: true, items: HARMLESS.map(item) },
    { label: "SysRq that stops things", layout: "list", items: DANGEROUS.map(item) },
  ];
}

/** The person's clipboard, and what the guest may do with it. */

import { ClipboardAddon, type IClipboardProvider } from "@xterm/addon-clipboard";
import type { Terminal } from "@xterm/xterm";

/**
 * Copies text for the person.
 *
 * The asynchronous clipboard needs a secure context and, in a frame, the parent's permission;
 * the old command needs neither.
 *
 * @returns whether it worked.
 */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByCommand(text);
  }
}

/** The clipboard's text, or null where the browser does not give it to pages. */
export async function readText(): Promise<string | null> {
  try {
    return await navigator.clipboard.readText();
  } catch {
    return null;
  }
}

function copyByCommand(text: string): boolean {
  const before = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "offscreen";
  document.body.append(area);
  area.select();
  try {
    return document.execCommand("copy");
  } finally {
    area.remove();
    if (before instanceof HTMLElement) before.focus();
  }
}

/**
 * OSC 52, by which a guest reads and writes the clipboard. What runs in a guest is not trusted:
 * reading would hand it a copied password, writing lets it plant a command that is pasted later.
 * So reading never works, and writing only while the person has it turned on.
 */
export class GuestClipboard implements IClipboardProvider {
  /** Whether the guest may set the clipboard; never remembered. */
  writable = false;

  attach(terminal: Terminal): void {
    terminal.loadAddon(new ClipboardAddon(undefined, this));
    // Registered later, so asked first: a refused request gets no answer at all. The addon would
    // type an empty answer into the guest.
    terminal.parser.registerOscHandler(52, (data) => !this.writable || data.endsWith(";?"));
  }

  readText(): string {
    return "";
  }

  async writeText(selection: string, text: string): Promise<void> {
    if (this.writable && selection === "c" && text !== "") await copyText(text);
  }
}

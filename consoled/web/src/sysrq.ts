/** Linux's SysRq keys: what they do, in words. Source: the kernel's admin-guide/sysrq.rst. */

/** A key that the menu offers; a guest's kernel decides which of them it takes. */
export interface SysrqKey {
  readonly key: string;
  readonly label: string;
  /** What it does to the guest, for a key that is asked about before it is sent. */
  readonly danger?: string;
}

/** Keys that show something on the guest's console, or write what it has not written yet. */
export const HARMLESS: readonly SysrqKey[] = [
  { key: "h", label: "Help: what this guest takes" },
  { key: "9", label: "Show all kernel messages" },
  { key: "w", label: "Tasks that are blocked" },
  { key: "t", label: "All tasks" },
  { key: "l", label: "What the processors do" },
  { key: "m", label: "Memory" },
  { key: "s", label: "Sync disks" },
];

/** Keys after which the guest is not as it was. */
export const DANGEROUS: readonly SysrqKey[] = [
  { key: "u", label: "Remount disks read-only…", danger: "All its file systems become read-only: until it restarts, nothing can be written." },
  { key: "f", label: "End the largest process…", danger: "The process that uses most memory is killed, without a chance to save anything." },
  { key: "e", label: "Ask all processes to end…", danger: "Every process but the first is asked to end (SIGTERM), logins and services too." },
  { key: "i", label: "Kill all processes…", danger: "Every process but the first is killed (SIGKILL), without a chance to save anything." },
  { key: "c", label: "Crash, for a dump…", danger: "Its kernel crashes on purpose: it writes a dump where one is set up, and hangs or restarts." },
  { key: "o", label: "Power off at once…", danger: "It powers off at once: nothing is shut down, and what is not on its disks is lost." },
  { key: "b", label: "Restart at once…", danger: "It restarts at once: nothing is shut down, and what is not on its disks is lost." },
];

/** A paste in words. */

import type { Progress, Stop } from "./paste.js";

/** Whole percent, 100 only when all of it is sent. */
export function percentOf({ sent, total }: Progress): number {
  return Math.floor((100 * sent) / total);
}

/** While it runs. */
export function runningWords(progress: Progress): string {
  return `Pasting: ${amount(progress)} (${percentOf(progress)} %)`;
}

/** After it has ended early. */
export function stoppedWords(progress: Progress, why: Stop): string {
  switch (why) {
    case "cancelled":
      return `Paste cancelled: ${amount(progress)} were sent.`;
    case "dropped":
      return `Paste stopped: ${amount(progress)} were sent.`;
    case "broken":
      return `The connection ended during a paste: ${amount(progress)} or a little more were sent.`;
  }
}

function amount({ sent, total }: Progress): string {
  if (total < 10_000) return `${sent} of ${total} bytes`;
  return `${kib(sent)} of ${kib(total)} KiB`;
}

function kib(bytes: number): string {
  return (bytes / 1024).toFixed(1);
}

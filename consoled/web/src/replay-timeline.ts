/** Two clocks: the one of the session, and the one of a replay that skips idle time. */

/** The longest pause of a replay that skips idle time, in seconds. */
export const LONGEST_PAUSE = 2;

/** Which moment of the replay is which of the session. All times are seconds from its beginning. */
export class Timeline {
  /** The same moments, as they are shown. */
  readonly shown: readonly number[];

  /**
   * @param moments when something happened, in order.
   * @param longestPause how long a pause may last in the replay; Infinity keeps all.
   */
  constructor(
    private readonly moments: readonly number[],
    longestPause: number,
  ) {
    let before = 0;
    let sum = 0;
    this.shown = moments.map((moment) => {
      sum += Math.min(moment - before, longestPause);
      before = moment;
      return sum;
    });
  }

  /** How long the replay is. */
  get duration(): number {
    return this.shown.at(-1) ?? 0;
  }

  /** The moment of the replay that shows a moment of the session. */
  toShown(moment: number): number {
    return between(this.moments, this.shown, moment);
  }

  /** The moment of the session that a moment of the replay shows. */
  toSession(shown: number): number {
    return between(this.shown, this.moments, shown);
  }
}

/** The last index whose value is at most `limit`, or -1. The values only grow. */
export function lastAtMost(values: readonly number[], limit: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle] ?? Infinity) <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** What stands for `value` on the other scale: the same part of the way between two moments. */
function between(from: readonly number[], to: readonly number[], value: number): number {
  const index = lastAtMost(from, value);
  const [start, base] = index < 0 ? [0, 0] : [from[index] ?? 0, to[index] ?? 0];
  const [end, top] = [from[index + 1], to[index + 1]];
  if (end === undefined || top === undefined || end === start) return base;
  return base + ((top - base) * (value - start)) / (end - start);
}

/** A time as people read it: 1:02, or 1:01:02. */
export function clockWords(seconds: number): string {
  const whole = Math.floor(Math.max(0, seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number: number): string => String(number).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

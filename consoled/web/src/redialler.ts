/** Brings a broken connection back by itself. */

import { delayBefore, delayToStart, endsWait, isBreak, PATIENCE, STOPPED } from "./schedule.js";
import { ending, type Ending, type State } from "./states.js";

/** Time and chance, as the page has them. */
export interface Clock {
  /** Milliseconds that only grow. */
  now(): number;
  /** Runs something later; what it returns takes that back. */
  later(delay: number, run: () => void): () => void;
  /** A number from 0 to 1. */
  chance(): number;
}

/** What there is to redial. */
export interface Dialled {
  /** Opens a new connection to the same session. */
  dial(): void;
  /** Leaves the present one without a word. */
  abandon(): void;
}

/** A break that is being mended. */
interface Break {
  readonly how: Ending;
  readonly at: number;
  tried: number;
  /** Whether the instance stopped, and its start is waited for. */
  readonly stopped: boolean;
}

/**
 * Stands between the wire's states and the page: a break of a connection that can be resumed
 * becomes "reconnecting" until it is connected again, answered otherwise, stopped or given up.
 * So does the stop of an instance, for as long as the server says that this is worth it.
 */
export class Redialler {
  #resumable = false;
  #linger = 0;
  #break: Break | null = null;
  #waiting = false;
  #cancel: () => void = () => {};

  /** @param show told the states that the person sees. */
  constructor(
    private readonly wire: Dialled,
    private readonly clock: Clock,
    private readonly show: (state: State) => void,
  ) {}

  /**
   * The console is open.
   *
   * @param resumable whether there is a key to come back with.
   * @param linger milliseconds in which the start of an instance that stopped is waited for.
   */
  greeted(resumable: boolean, linger = 0): void {
    this.#resumable = resumable;
    this.#linger = linger;
  }

  /** What the wire says of itself. */
  wireChanged(state: State): void {
    if (state.kind === "ended") {
      this.#ended(state.ending);
    } else if (state.kind !== "connecting" || this.#break === null) {
      if (state.kind === "connected") this.#mended();
      this.show(state);
    }
  }

  /** Dials at once, where it waits to: the network or the person may be back. */
  wake(): void {
    if (this.#waiting) this.#dial();
  }

  /**
   * Dials at once, as the person wishes, in place of an attempt that may hang.
   *
   * @returns whether there was a break to mend.
   */
  dialNow(): boolean {
    this.#dial();
    return this.#break !== null;
  }

  /** Ends the attempts; the connection stays broken. */
  stop(): void {
    const broken = this.#break;
    if (broken === null) return;
    this.wire.abandon();
    this.#finish(broken.how);
  }

  /** Forgets an earlier break: the person connects anew. */
  forget(): void {
    this.#mended();
    this.#resumable = false;
    this.#linger = 0;
  }

  #ended(how: Ending): void {
    if (!this.#mends(how.code)) {
      this.#finish(how);
      return;
    }
    this.#cancel();
    const stopped = this.#break?.stopped === true || how.code === STOPPED;
    if (this.#break?.stopped !== stopped) {
      this.#break = { how, at: this.clock.now(), tried: 0, stopped };
      this.show({ kind: "reconnecting", ending: how });
    }
    const { at, tried } = this.#break;
    const elapsed = this.clock.now() - at;
    const delay = stopped
      ? delayToStart(tried, elapsed, this.clock.chance(), this.#linger)
      : delayBefore(tried, elapsed, this.clock.chance());
    if (delay === null) {
      this.#finish(stopped ? this.#break.how : how);
      return;
    }
    this.#waiting = true;
    this.#cancel = this.clock.later(delay, () => this.#dial());
  }

  /** Whether another connection may come about by itself after a close with that code. */
  #mends(code: number): boolean {
    if (!this.#resumable) return false;
    if (this.#break?.stopped === true) return !endsWait(code);
    return isBreak(code) || (code === STOPPED && this.#linger > 0);
  }

  #dial(): void {
    if (this.#break === null) return;
    this.#cancel();
    this.#waiting = false;
    this.#break.tried += 1;
    this.#cancel = this.clock.later(PATIENCE, () => {
      this.wire.abandon();
      this.#ended(ending(1006, "", false));
    });
    this.wire.dial();
  }

  #finish(how: Ending): void {
    this.forget();
    this.show({ kind: "ended", ending: how });
  }

  #mended(): void {
    this.#cancel();
    this.#waiting = false;
    this.#break = null;
  }
}

/** Acknowledgement credit of the subprotocol consoled.v1. */

/** Progress, in bytes, that is worth an acknowledgement of its own. */
export const ACK_STEP = 32 * 1024;

/**
 * Counts wire bytes in and drawn, and says when to acknowledge: every {@link ACK_STEP} bytes of
 * progress, and when everything received is drawn.
 */
export class Credit {
  #received = 0;
  #drawn = 0;
  #acknowledged = 0;

  /** Bytes that are received and not yet drawn. */
  get pending(): number {
    return this.#received - this.#drawn;
  }

  received(bytes: number): void {
    this.#received += bytes;
  }

  /**
   * Takes note of drawn bytes.
   *
   * @returns the cumulative count to acknowledge now, or null.
   */
  drawn(bytes: number): number | null {
    this.#drawn += bytes;
    const due = this.#drawn - this.#acknowledged >= ACK_STEP || this.pending === 0;
    if (!due || this.#drawn === this.#acknowledged) return null;
    this.#acknowledged = this.#drawn;
    return this.#drawn;
  }
}

/** The asciinema player, as this page uses it: a screen and a clock, without controls of its own. */

import { create, type Player, type RecordingEvent } from "asciinema-player";
import type { CastEvent, CastHead } from "./replay-cast.js";
import type { Timeline } from "./replay-timeline.js";

const FONT =
  'ui-monospace, "SF Mono", SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';

/** What the player tells the page. */
export interface PlayerListener {
  /** It plays, or it does not any more. */
  playingChanged(playing: boolean): void;
  /** It failed; nothing plays. */
  failed(): void;
}

/**
 * Plays one recording. Speed, idle time and theme are fixed in the player, so that a change of
 * one puts another player in its place, at the same moment.
 */
export class ReplayPlayer {
  #player: Player | null = null;
  #timeline: Timeline;
  #speed = 1;
  #playing = false;
  /** Where it is, in seconds of the replay, while the player does not know. */
  #position: number | null = 0;

  constructor(
    private readonly place: HTMLElement,
    private readonly head: CastHead,
    private readonly events: readonly CastEvent[],
    timeline: Timeline,
    private readonly listener: PlayerListener,
  ) {
    this.#timeline = timeline;
  }

  get playing(): boolean {
    return this.#playing;
  }

  /** The moment of the session that is shown, in seconds. */
  get moment(): number {
    return this.#timeline.toSession(this.position);
  }

  /** The same, in seconds of the replay. */
  get position(): number {
    return this.#position ?? this.#player?.getCurrentTime() ?? 0;
  }

  get timeline(): Timeline {
    return this.#timeline;
  }

  play(): void {
    this.#run((player) => player.play());
  }

  pause(): void {
    this.#run((player) => player.pause());
  }

  /** Shows a moment of the replay, in seconds. */
  seek(position: number): void {
    const to = Math.min(Math.max(0, position), this.#timeline.duration);
    this.#position = to;
    this.#run(async (player) => {
      await player.seek(to);
      if (this.#position === to) this.#position = null;
    });
  }

  /** Plays so many times as fast as it was. */
  set speed(speed: number) {
    this.#speed = speed;
    this.show();
  }

  /** Plays by another clock; the moment of the session stays. */
  set timeline(timeline: Timeline) {
    const moment = this.moment;
    this.#timeline = timeline;
    this.#position = timeline.toShown(moment);
    this.show();
  }

  /** Puts a player in place, as everything is now. */
  show(): void {
    const { position, playing } = { position: this.position, playing: this.#playing };
    const focused = this.place.contains(document.activeElement);
    this.#player?.dispose();
    const player = create(
      { data: [], parser: () => ({ cols: this.head.cols, rows: this.head.rows, events: this.#script() }) },
      this.place,
      {
        controls: false,
        cursorMode: "steady",
        fit: "both",
        keystrokeOverlay: false,
        speed: this.#speed,
        terminalFontFamily: FONT,
        theme: "consoled",
      },
    );
    this.#player = player;
    // The place itself is where the keyboard stops, whichever player is in it.
    player.el.querySelector("pre")?.setAttribute("tabindex", "-1");
    if (focused) this.place.focus();
    const ours = (tell: () => void) => () => {
      if (this.#player === player) tell();
    };
    player.addEventListener("playing", ours(() => this.#changed(true)));
    player.addEventListener("pause", ours(() => this.#changed(false)));
    player.addEventListener("ended", ours(() => this.#changed(false)));
    this.seek(position);
    if (playing) this.play();
  }

  #changed(playing: boolean): void {
    this.#playing = playing;
    this.listener.playingChanged(playing);
  }

  #run(act: (player: Player) => Promise<unknown>): void {
    const player = this.#player;
    if (player === null) return;
    act(player).catch(() => {
      if (this.#player === player) this.listener.failed();
    });
  }

  /** What the player is given: times in milliseconds of the replay, and nothing but what draws. */
  *#script(): Generator<RecordingEvent> {
    yield [0, "o", ""];
    for (const [index, event] of this.events.entries()) {
      const at = (this.#timeline.shown[index] ?? 0) * 1000;
      if (event.kind === "output") yield [at, "o", event.text];
      else if (event.kind === "resize") yield [at, "r", `${event.cols}x${event.rows}`];
    }
    yield [this.#timeline.duration * 1000, "o", ""];
  }
}

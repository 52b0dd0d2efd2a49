/** The page that plays a recording, put together: token, recording, player and controls. */

import "./page.css";
import "asciinema-player/dist/bundle/asciinema-player.css";
import "./replay.css";
import { arrive } from "./arrival.js";
import { byId } from "./dom.js";
import { Notices } from "./notices.js";
import { PreferenceStore, THEMES } from "./preferences.js";
import { BadCast, type CastReader } from "./replay-cast.js";
import { Controls } from "./replay-controls.js";
import { actionOf } from "./replay-keys.js";
import { contentUrl, load, NotLoaded, type Loaded } from "./replay-load.js";
import { Panel } from "./replay-panel.js";
import { ReplayPlayer } from "./replay-player.js";
import { SearchText } from "./replay-search.js";
import { LONGEST_PAUSE, Timeline } from "./replay-timeline.js";
import { ThemeSwitch } from "./theme.js";

type Stage = "loading" | "playing" | "paused" | "over" | "failed";

const NEW_LINK = "Get a new link where you got this one (dashboard, client or API), and open it.";
const DOWNLOAD = "Download it with `consolectl recording download`, or play it there with `consolectl recording play`.";

/** Whether the browser compiles WebAssembly at all: the player would wait for it without end. */
async function runsPlayer(): Promise<boolean> {
  try {
    await WebAssembly.compile(new Uint8Array([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]));
    return true;
  } catch {
    return false;
  }
}

class ReplayPage {
  readonly #screen = byId("screen", HTMLElement);
  readonly #notices = new Notices(() => this.#screen.focus());
  readonly #preferences = new PreferenceStore(() => localStorage);
  readonly #theme = new ThemeSwitch(() => this.#player?.show());
  readonly #panel = new Panel(
    {
      chosen: (at) => this.#showMoment(at),
      now: () => this.#player?.moment ?? 0,
      leave: () => this.#screen.focus(),
    },
    () => new SearchText(this.#reader?.events ?? []),
  );
  readonly #controls = new Controls({
    toggle: () => this.#toggle(),
    by: (seconds) => this.#by(seconds),
    seek: (position) => this.#seek(position),
    speed: (speed) => {
      if (this.#player !== null) this.#player.speed = speed;
    },
    skip: (on) => {
      if (this.#player !== null) this.#player.timeline = this.#timeline(on);
      this.#tick();
    },
  });
  #reader: CastReader | null = null;
  #player: ReplayPlayer | null = null;

  constructor(private readonly token: string | null) {
    const theme = byId("theme", HTMLSelectElement);
    theme.value = this.#preferences.now.theme;
    theme.addEventListener("change", () => {
      const chosen = THEMES.find((name) => name === theme.value) ?? "auto";
      this.#theme.choose(this.#preferences.change({ theme: chosen }).theme);
    });
    this.#theme.choose(this.#preferences.now.theme);
    this.#panel.show(!matchMedia("(max-width: 640px)").matches);
    byId("again", HTMLButtonElement).addEventListener("click", () => void this.open());
    document.addEventListener("keydown", (event) => this.#key(event), { capture: true });
    setInterval(() => this.#tick(), 100);
  }

  /** Fetches the recording and plays it. */
  async open(): Promise<void> {
    byId("ended", HTMLElement).hidden = true;
    this.#say("loading", "Loading");
    if (this.token === null) {
      this.#fail("this page needs a replay link with a token", NEW_LINK, false);
      return;
    }
    try {
      const loaded = await load(fetch.bind(window), contentUrl(location.href), this.token, (bytes, all) => this.#progress(bytes, all));
      if (await runsPlayer()) this.#start(loaded);
      else this.#failPlayer();
    } catch (error) {
      this.#explain(error);
    }
  }

  #start({ reader, cut }: Loaded): void {
    const { head } = reader;
    this.#reader = reader;
    this.#introduce(reader);
    if (cut || reader.full) {
      this.#notices.show(`This recording is larger than this page plays: it shows the beginning. ${DOWNLOAD}`, { warning: true });
    } else if (!reader.closed) {
      this.#notices.show("This recording is not over, or was cut off: the page plays what there is. Reload it for what came since.");
    }
    this.#panel.list(reader.events.filter((event) => event.kind === "mark"));
    this.#player = new ReplayPlayer(this.#screen, head, reader.events, this.#timeline(this.#controls.skips), {
      playingChanged: (playing) => this.#playingChanged(playing),
      failed: () => this.#failPlayer(),
    });
    this.#player.show();
    this.#controls.open(head.began);
    this.#playingChanged(false);
    this.#tick();
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.#player.play();
  }

  #introduce({ head }: CastReader): void {
    const title = head.title || "Recording";
    document.title = `${title} (recording)`;
    byId("instance-name", HTMLElement).textContent = title;
    const when = head.began === null ? "" : head.began.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
    byId("about", HTMLElement).textContent = [head.user && `Session of ${head.user}`, when].filter(Boolean).join(", ");
  }

  #timeline(skip: boolean): Timeline {
    const { events, duration } = this.#reader ?? { events: [], duration: 0 };
    return new Timeline([...events.map((event) => event.at), duration], skip ? LONGEST_PAUSE : Infinity);
  }

  #progress(bytes: number, all: number): void {
    const size = (count: number): string => (count / 1048576).toFixed(1);
    if (all > 1048576) this.#say("loading", `Loading ${size(bytes)} of ${size(all)} MB`);
  }

  #explain(error: unknown): void {
    if (error instanceof NotLoaded) {
      this.#fail(error.message, error.again ? "Try again in a moment." : NEW_LINK, error.again);
    } else if (error instanceof BadCast) {
      this.#fail(error.message, DOWNLOAD, false);
    } else {
      this.#fail("the page failed", "Reload it; if that does not help, tell your operator.", false);
    }
  }

  #failPlayer(): void {
    this.#fail("the player does not run in this browser, which refuses WebAssembly", DOWNLOAD, false);
  }

  #fail(reason: string, advice: string, again: boolean): void {
    const words = reason.replace(/\.$/, "");
    this.#say("failed", `Cannot play: ${words}`);
    byId("ended-reason", HTMLElement).textContent = `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;
    byId("ended-advice", HTMLElement).textContent = advice;
    byId("again", HTMLButtonElement).hidden = !again;
    byId("ended", HTMLElement).hidden = false;
  }

  #say(stage: Stage, words: string): void {
    document.body.dataset.state = stage;
    const state = byId("state", HTMLElement);
    if (state.textContent !== words) state.textContent = words;
  }

  #playingChanged(playing: boolean): void {
    const player = this.#player;
    this.#controls.playing(playing);
    const over = player !== null && !playing && player.position >= player.timeline.duration - 0.01;
    if (playing) this.#say("playing", "Playing");
    else if (over) this.#say("over", "At the end");
    else this.#say("paused", "Paused");
  }

  #tick(): void {
    const player = this.#player;
    if (player === null) return;
    const { position, moment } = player;
    this.#controls.show({ position: Math.min(position, player.timeline.duration), duration: player.timeline.duration, moment });
  }

  #toggle(): void {
    if (this.#player?.playing === true) this.#player.pause();
    else this.#player?.play();
  }

  #by(seconds: number): void {
    this.#seek((this.#player?.position ?? 0) + seconds);
  }

  #seek(position: number): void {
    const player = this.#player;
    if (player === null) return;
    player.seek(position);
    if (!player.playing) this.#playingChanged(false);
    this.#tick();
  }

  /** Stops at a moment of the session, so that it can be looked at. */
  #showMoment(at: number): void {
    const player = this.#player;
    if (player === null) return;
    player.pause();
    this.#seek(player.timeline.toShown(at));
  }

  #key(event: KeyboardEvent): void {
    const on = event.target;
    const typing = on instanceof HTMLSelectElement || (on instanceof HTMLInputElement && on.type === "search");
    const action = actionOf(event);
    // A button or a switch is pressed by the space bar itself.
    const pressed = event.key === " " && (on instanceof HTMLButtonElement || on instanceof HTMLInputElement);
    if (action === null || pressed || (typing && !event.ctrlKey)) {
      // The player has keys of its own, which know nothing of the page.
      if (on instanceof Node && this.#screen.contains(on)) event.stopPropagation();
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    switch (action.kind) {
      case "toggle":
        return this.#toggle();
      case "by":
        return this.#by(action.seconds);
      case "to":
        return this.#seek(action.part * (this.#player?.timeline.duration ?? 0));
      case "mark":
        return this.#panel.stepMark(action.step);
      case "hit":
        return this.#panel.step(action.step);
      case "speed":
        return this.#controls.stepSpeed(action.step);
      case "search":
        return this.#panel.search();
    }
  }
}

void new ReplayPage(arrive()?.token ?? null).open();

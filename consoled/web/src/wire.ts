/** One console's WebSocket: from dialling to its end, and again on reconnect. */

import { busyEnding } from "./busy.js";
import { Credit } from "./flow.js";
import {
  ack,
  announcePaste,
  cancelPaste,
  confirm,
  handOver,
  parseControl,
  resize,
  sendBreak,
  type Busy,
  type Control,
  type Hello,
  type Notice,
  type Pasted,
  type Takeover,
  type Viewers,
} from "./protocol.js";
import { joinOf, type Join, type Place } from "./resume.js";
import { ending, FLOODED, type Ending, type State } from "./states.js";

/** What the page speaks, in its order of preference; the server picks. */
export const PROTOCOLS: readonly string[] = ["consoled.v1", "binary"];

/** The longest binary frame sent, in bytes: well under the server's limit for one frame. */
export const FRAME = 16 * 1024;

/** Undrawn bytes at which a server without flow control is cut off. */
export const FLOOD = 16 * 1024 * 1024;

/** The close code of a console that another session has. */
const BUSY = 4409;

/** `WebSocket.OPEN`. */
const OPEN = 1;

/** What is needed of a WebSocket. */
export interface Socket {
  binaryType: BinaryType;
  readonly protocol: string;
  readonly readyState: number;
  onopen: ((event: Event) => void) | null;
  onmessage: ((event: MessageEvent) => void) | null;
  onclose: ((event: CloseEvent) => void) | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number): void;
}

/** What a terminal has room for. */
export interface Size {
  readonly cols: number;
  readonly rows: number;
}

/** What the wire tells the page. */
export interface Listener {
  stateChanged(state: State): void;
  greeted(hello: Hello): void;
  /** Before a connection's first output: how it continues what is on the screen. */
  joined(join: Join): void;
  noticed(notice: Notice): void;
  /** Who is on the line, where that is not this person alone. */
  companyChanged(viewers: Viewers): void;
  /** Somebody asks for the console, or does not any more. */
  requested(request: Takeover): void;
  /**
   * Wire bytes to draw; `drawn` is called once they are on the screen. `again` says that they
   * are scrollback that was shown before.
   */
  output(bytes: Uint8Array, drawn: () => void, again: boolean): void;
  /** How far the announced paste is. */
  pasted(progress: Pasted): void;
  /** Input was dropped, because typing is held back. */
  withheld(): void;
}

type Phase = "idle" | "opening" | "greeting" | "open";

/**
 * The client's state machine: idle, opening (no WebSocket yet), greeting (no hello yet), open.
 * No input leaves before it is open.
 */
export class Wire {
  #phase: Phase = "idle";
  #socket: Socket | null = null;
  #credit = new Credit();
  #flowControlled = false;
  #silent = true;
  #held = false;
  #watching = false;
  #countsPastes = false;
  #busy: Busy | null = null;
  #size: Size | null = null;
  #shell = false;
  #place: Place | null = null;
  /** Bytes to come that are shown again. */
  #again = 0;

  /** @param dial opens a WebSocket. */
  constructor(
    private readonly dial: (url: string, protocols: string[]) => Socket,
    private readonly listener: Listener,
  ) {}

  /** Where in its session's output the page is; null before its first connection. */
  get position(): number | null {
    return this.#place?.position ?? null;
  }

  /** Connects, leaving any earlier connection. */
  connect(url: string): void {
    this.abandon();
    this.#phase = "opening";
    this.#credit = new Credit();
    this.#silent = true;
    this.#held = false;
    this.#watching = false;
    this.#countsPastes = false;
    this.#busy = null;
    this.#again = 0;
    this.listener.stateChanged({ kind: "connecting" });
    const socket = this.dial(url, [...PROTOCOLS]);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = (event) => this.#received(event.data);
    socket.onclose = (event) =>
      this.#end(ending(event.code, event.reason, this.#phase !== "opening", this.#shell));
  }

  /**
   * Sends input to the guest; before the console is open, while it is held, and from somebody
   * who watches, it is dropped.
   */
  send(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#phase !== "open" || this.#watching) return;
    if (this.#held) {
      this.listener.withheld();
      return;
    }
    for (let at = 0; at < bytes.length; at += FRAME) {
      this.#put(bytes.subarray(at, at + FRAME));
    }
  }

  /** Whether input goes to the guest now, and the server says how far a paste is. */
  get counts(): boolean {
    return this.#phase === "open" && this.#countsPastes && !this.#held && !this.#watching;
  }

  /** The next so many bytes are a paste; asked only while it {@link counts}. */
  announce(bytes: number): void {
    this.#put(announcePaste(bytes));
  }

  /** What the server still holds back of the paste is dropped; it says how much went. */
  cancelPaste(): void {
    if (this.#phase === "open") this.#put(cancelPaste());
  }

  /** The person wants to type although the guest has said nothing yet. */
  confirm(): void {
    if (this.#phase !== "open" || !this.#held) return;
    this.#put(confirm());
    this.#held = false;
    this.#tellConnected();
  }

  /** The person gives the console to whoever asks for it. */
  handOver(): void {
    if (this.#phase === "open") this.#put(handOver());
  }

  /** Sends a BREAK, or a SysRq with that key; the server says what has become of it. */
  sendBreak(sysrq: string | null): void {
    if (this.#phase === "open" && this.#flowControlled) this.#put(sendBreak(sysrq));
  }

  /** The terminal has this size; said at once, and first of all of each connection. */
  resize(size: Size): void {
    if (size.cols === this.#size?.cols && size.rows === this.#size.rows) return;
    this.#size = size;
    this.#tellSize();
  }

  #tellSize(): void {
    if (this.#size === null || !this.#flowControlled || this.#phase === "idle" || this.#phase === "opening") return;
    this.#put(resize(this.#size.cols, this.#size.rows));
  }

  /** Leaves the connection without a word to the listener. */
  abandon(): void {
    const socket = this.#socket;
    this.#socket = null;
    this.#phase = "idle";
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
  }

  /** A closing WebSocket takes nothing more; its close event is on the way. */
  #put(data: string | Uint8Array<ArrayBuffer>): void {
    if (this.#socket?.readyState === OPEN) this.#socket.send(data);
  }

  #opened(socket: Socket): void {
    this.#flowControlled = socket.protocol === "consoled.v1";
    if (this.#flowControlled) {
      this.#phase = "greeting";
      this.#tellSize();
    } else {
      this.#open({ session: "", position: 0 });
    }
  }

  #open(start: Place): void {
    this.#phase = "open";
    this.listener.joined(joinOf(this.#place, start));
    this.#place = start;
    this.#tellConnected();
  }

  #tellConnected(): void {
    this.listener.stateChanged({
      kind: "connected",
      silent: this.#silent,
      held: this.#held,
      watching: this.#watching,
    });
  }

  #received(data: unknown): void {
    if (data instanceof ArrayBuffer) {
      this.#output(new Uint8Array(data));
      return;
    }
    if (typeof data !== "string" || !this.#flowControlled) return;
    const message = parseControl(data);
    if (message !== null) this.#told(message);
  }

  #told(message: Control): void {
    switch (message.type) {
      case "notice":
        this.listener.noticed(message);
        return;
      case "busy":
        this.#busy = message;
        return;
      case "viewers":
        if (this.#phase === "open") this.listener.companyChanged(message);
        return;
      case "takeover":
        if (this.#phase === "open") this.listener.requested(message);
        return;
      case "pasted":
        if (this.#phase === "open") this.listener.pasted(message);
        return;
      case "waiting":
        if (this.#phase === "greeting") {
          this.listener.stateChanged({ kind: "waiting", user: message.user, seconds: message.seconds });
        }
        return;
      case "hello":
        if (this.#phase !== "greeting") return;
        this.#held = message.unproven;
        this.#watching = message.watches;
        this.#shell = message.shell;
        this.#countsPastes = message.countsPastes;
        this.#again = message.replay;
        this.listener.greeted(message);
        this.#open({ session: message.session, position: message.offset });
    }
  }

  #output(bytes: Uint8Array): void {
    if (this.#phase !== "open" || this.#place === null || bytes.length === 0) return;
    if (this.#silent || this.#held) {
      this.#silent = false;
      this.#held = false;
      this.#tellConnected();
    }
    const { session, position } = this.#place;
    this.#place = { session, position: position + bytes.length };
    const credit = this.#credit;
    credit.received(bytes.length);
    if (credit.pending > FLOOD) {
      this.abandon();
      this.#end(FLOODED);
      return;
    }
    const old = Math.min(this.#again, bytes.length);
    this.#again -= old;
    if (old > 0) this.#draw(bytes.subarray(0, old), true);
    if (old < bytes.length) this.#draw(bytes.subarray(old), false);
  }

  #draw(bytes: Uint8Array, again: boolean): void {
    const credit = this.#credit;
    this.listener.output(bytes, () => {
      const due = credit.drawn(bytes.length);
      // Drawing may finish after a reconnect: that credit is of the connection that is gone.
      if (due !== null && credit === this.#credit && this.#flowControlled && this.#phase === "open") {
        this.#put(ack(due));
      }
    }, again);
  }

  #end(how: Ending): void {
    this.#phase = "idle";
    this.#socket = null;
    const busy = how.code === BUSY ? this.#busy : null;
    const told = busy === null ? how : busyEnding(how, busy, new Date());
    this.listener.stateChanged({ kind: "ended", ending: told });
  }
}

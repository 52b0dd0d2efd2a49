/** One console's WebSocket: from dialling to its end, and again on reconnect. */

import { Credit } from "./flow.js";
import { ack, parseControl, type Hello } from "./protocol.js";
import { ending, FLOODED, type Ending, type State } from "./states.js";

/** What the page speaks, in its order of preference; the server picks. */
export const PROTOCOLS: readonly string[] = ["consoled.v1", "binary"];

/** The longest binary frame sent, in bytes: well under the server's limit for one frame. */
export const FRAME = 16 * 1024;

/** Undrawn bytes at which a server without flow control is cut off. */
export const FLOOD = 16 * 1024 * 1024;

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

/** What the wire tells the page. */
export interface Listener {
  stateChanged(state: State): void;
  greeted(hello: Hello): void;
  noticed(text: string): void;
  /** Wire bytes to draw; `drawn` is called once they are on the screen. */
  output(bytes: Uint8Array, drawn: () => void): void;
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

  /** @param dial opens a WebSocket. */
  constructor(
    private readonly dial: (url: string, protocols: string[]) => Socket,
    private readonly listener: Listener,
  ) {}

  /** Connects, leaving any earlier connection. */
  connect(url: string): void {
    this.#leave();
    this.#phase = "opening";
    this.#credit = new Credit();
    this.#silent = true;
    this.listener.stateChanged({ kind: "connecting" });
    const socket = this.dial(url, [...PROTOCOLS]);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = (event) => this.#received(event.data);
    socket.onclose = (event) =>
      this.#end(ending(event.code, event.reason, this.#phase !== "opening"));
  }

  /** Sends input to the guest; before the console is open it is dropped. */
  send(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#phase !== "open") return;
    for (let at = 0; at < bytes.length; at += FRAME) {
      this.#put(bytes.subarray(at, at + FRAME));
    }
  }

  /** A closing WebSocket takes nothing more; its close event is on the way. */
  #put(data: string | Uint8Array<ArrayBuffer>): void {
    if (this.#socket?.readyState === OPEN) this.#socket.send(data);
  }

  #opened(socket: Socket): void {
    this.#flowControlled = socket.protocol === "consoled.v1";
    if (this.#flowControlled) {
      this.#phase = "greeting";
    } else {
      this.#open();
    }
  }

  #open(): void {
    this.#phase = "open";
    this.listener.stateChanged({ kind: "connected", silent: true });
  }

  #received(data: unknown): void {
    if (data instanceof ArrayBuffer) {
      this.#output(new Uint8Array(data));
      return;
    }
    if (typeof data !== "string" || !this.#flowControlled) return;
    const message = parseControl(data);
    if (message?.type === "notice") this.listener.noticed(message.text);
    if (message?.type === "hello" && this.#phase === "greeting") {
      this.listener.greeted(message);
      this.#open();
    }
  }

  #output(bytes: Uint8Array): void {
    if (this.#phase !== "open" || bytes.length === 0) return;
    if (this.#silent) {
      this.#silent = false;
      this.listener.stateChanged({ kind: "connected", silent: false });
    }
    const credit = this.#credit;
    credit.received(bytes.length);
    if (credit.pending > FLOOD) {
      this.#leave();
      this.#end(FLOODED);
      return;
    }
    this.listener.output(bytes, () => {
      const due = credit.drawn(bytes.length);
      // Drawing may finish after a reconnect: that credit is of the connection that is gone.
      if (due !== null && credit === this.#credit && this.#flowControlled && this.#phase === "open") {
        this.#put(ack(due));
      }
    });
  }

  #end(how: Ending): void {
    this.#phase = "idle";
    this.#socket = null;
    this.listener.stateChanged({ kind: "ended", ending: how });
  }

  #leave(): void {
    const socket = this.#socket;
    this.#socket = null;
    this.#phase = "idle";
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
  }
}

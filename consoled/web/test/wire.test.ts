import assert from "node:assert/strict";
import { test } from "node:test";
import { words, type State } from "../src/states.js";
import { FLOOD, FRAME, Wire, type Socket } from "../src/wire.js";

class FakeSocket implements Socket {
  binaryType: BinaryType = "blob";
  protocol = "";
  readyState = 0;
  onopen: Socket["onopen"] = null;
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  readonly sent: (string | Uint8Array)[] = [];
  closed = false;

  send(data: string | Uint8Array): void {
    this.sent.push(typeof data === "string" ? data : data.slice());
  }

  close(): void {
    this.closed = true;
  }

  opens(protocol: string): void {
    this.protocol = protocol;
    this.readyState = 1;
    this.onopen?.({} as Event);
  }

  gets(data: string | Uint8Array<ArrayBuffer>): void {
    this.onmessage?.({ data: typeof data === "string" ? data : data.buffer } as MessageEvent);
  }

  ends(code: number, reason = ""): void {
    this.onclose?.({ code, reason } as CloseEvent);
  }
}

function hello(more: object = {}): string {
  return JSON.stringify({ type: "hello", session: "s", instance: { uuid: "u", name: "n" }, console: 0, offset: 0, ...more });
}

const HELLO = hello();

function rig(): {
  wire: Wire;
  sockets: FakeSocket[];
  log: string[];
  drawn: (() => void)[];
  states: State[];
  connect(): FakeSocket;
} {
  const sockets: FakeSocket[] = [];
  const log: string[] = [];
  const drawn: (() => void)[] = [];
  const states: State[] = [];
  const wire = new Wire(
    (url, protocols) => {
      log.push(`dial ${url} ${protocols.join()}`);
      const socket = new FakeSocket();
      sockets.push(socket);
      return socket;
    },
    {
      stateChanged: (state) => {
        states.push(state);
        const held = state.kind === "connected" && state.held;
        log.push(held ? `${words(state)} (held)` : words(state));
      },
      greeted: (hello) => log.push(`hello ${hello.name}`),
      joined: (join) => log.push(join.kind === "lost" ? `lost ${join.bytes}` : join.kind),
      noticed: ({ text, warning }) => log.push(warning ? `warning ${text}` : `notice ${text}`),
      companyChanged: ({ writer, observers }) => log.push(`company ${writer} ${observers.join()}`),
      requested: ({ user, seconds }) => log.push(`requested ${user} ${seconds}`),
      output: (bytes, done, again) => {
        log.push(again ? `again ${bytes.length}` : `output ${bytes.length}`);
        drawn.push(done);
      },
      pasted: ({ bytes, dropped }) => log.push(dropped ? `pasted ${bytes}, no more` : `pasted ${bytes}`),
      withheld: () => log.push("withheld"),
    },
  );
  const connect = (): FakeSocket => {
    wire.connect("ws://x/");
    const socket = sockets.at(-1);
    assert.ok(socket);
    log.length = 0;
    return socket;
  };
  return { wire, sockets, log, drawn, states, connect };
}

test("a BREAK goes to an open console, and only where the server knows the word", () => {
  const { wire, connect } = rig();
  const socket = connect();
  socket.opens("consoled.v1");
  wire.sendBreak(null);
  assert.deepEqual(socket.sent, []);
  socket.gets(HELLO);
  wire.sendBreak(null);
  wire.sendBreak("h");
  assert.deepEqual(socket.sent.map((text) => JSON.parse(String(text))), [{ type: "break" }, { type: "break", sysrq: "h" }]);
  const plain = connect();
  plain.opens("binary");
  wire.sendBreak("h");
  assert.deepEqual(plain.sent, []);
});

test("the window's size goes ahead of each connection's input, and again when it changes", () => {
  const { wire, connect } = rig();
  wire.resize({ cols: 100, rows: 30 });
  const socket = connect();
  assert.deepEqual(socket.sent, []);
  socket.opens("consoled.v1");
  assert.deepEqual(socket.sent, ['{"type":"resize","columns":100,"rows":30}']);
  socket.gets(HELLO);
  wire.resize({ cols: 100, rows: 30 });
  wire.resize({ cols: 101, rows: 30 });
  assert.deepEqual(socket.sent.slice(1), ['{"type":"resize","columns":101,"rows":30}']);
  const next = connect();
  next.opens("consoled.v1");
  assert.deepEqual(next.sent, ['{"type":"resize","columns":101,"rows":30}']);
  const plain = connect();
  plain.opens("binary");
  wire.resize({ cols: 80, rows: 24 });
  assert.deepEqual(plain.sent, []);
});

test("the end of a shell is no matter of the instance", () => {
  for (const [type, advice] of [["ssh", "another one"], ["serial", "The instance may"]] as const) {
    const { states, connect } = rig();
    const socket = connect();
    socket.opens("consoled.v1");
    socket.gets(hello({ console_type: type }));
    socket.ends(1000, "It has ended.");
    const last = states.at(-1);
    assert.ok(last?.kind === "ended" && last.ending.advice.includes(advice));
  }
});

test("it offers consoled.v1 before binary and takes array buffers", () => {
  const { wire, sockets, log } = rig();
  wire.connect("ws://x/");
  assert.deepEqual(log, ["Connecting", "dial ws://x/ consoled.v1,binary"]);
  assert.equal(sockets[0]?.binaryType, "arraybuffer");
});

test("open is still connecting until the hello, and no input leaves before it", () => {
  const { wire, log, connect } = rig();
  const socket = connect();
  socket.opens("consoled.v1");
  wire.send(Uint8Array.of(1));
  socket.gets(Uint8Array.of(9));
  assert.deepEqual(log, []);
  assert.deepEqual(socket.sent, []);
  socket.gets(HELLO);
  assert.deepEqual(log, ["hello n", "first", "Connected, no output yet"]);
  wire.send(Uint8Array.of(2));
  assert.deepEqual(socket.sent, [Uint8Array.of(2)]);
});

test("the first output makes it connected, and is acknowledged once drawn", () => {
  const { log, drawn, connect } = rig();
  const socket = connect();
  socket.opens("consoled.v1");
  socket.gets(HELLO);
  log.length = 0;
  socket.gets(Uint8Array.of(1, 2, 3));
  socket.gets(Uint8Array.of(4));
  assert.deepEqual(log, ["Connected", "output 3", "output 1"]);
  assert.deepEqual(socket.sent, []);
  for (const done of drawn) done();
  assert.deepEqual(socket.sent, ['{"type":"ack","bytes":4}']);
});

test("binary has neither hello nor acknowledgement, and its text frames mean nothing", () => {
  const { log, drawn, connect } = rig();
  const socket = connect();
  socket.opens("binary");
  assert.deepEqual(log, ["first", "Connected, no output yet"]);
  socket.gets('{"type":"notice","text":"x"}');
  socket.gets(Uint8Array.of(1));
  drawn[0]?.();
  assert.deepEqual(socket.sent, []);
  assert.deepEqual(log.slice(2), ["Connected", "output 1"]);
});

test("big input leaves in frames under the server's limit, whole and in order", () => {
  const { wire, connect } = rig();
  const socket = connect();
  socket.opens("binary");
  const input = Uint8Array.from({ length: 2 * FRAME + 5 }, (_, at) => at % 251);
  wire.send(input);
  assert.deepEqual(socket.sent.map((frame) => frame.length), [FRAME, FRAME, 5]);
  assert.deepEqual(Uint8Array.from(socket.sent.flatMap((frame) => [...(frame as Uint8Array)])), input);
});

test("a notice is passed on; unknown messages are not", () => {
  const { log, connect } = rig();
  const socket = connect();
  socket.opens("consoled.v1");
  socket.gets('{"type":"notice","text":"skipped"}');
  socket.gets('{"type":"notice","text":"ends soon","kind":"warning"}');
  socket.gets('{"type":"later"}');
  assert.deepEqual(log, ["notice skipped", "warning ends soon"]);
});

test("the end says why, and no input leaves afterwards", () => {
  const { wire, log, connect } = rig();
  const socket = connect();
  socket.opens("consoled.v1");
  socket.gets(HELLO);
  log.length = 0;
  socket.ends(4409, "bob has it");
  wire.send(Uint8Array.of(1));
  assert.deepEqual(log, ["Ended: bob has it"]);
  assert.deepEqual(socket.sent, []);
});

test("what is drawn while the connection closes is not acknowledged", () => {
  const { wire, drawn, connect } = rig();
  const socket = connect();
  socket.opens("consoled.v1");
  socket.gets(HELLO);
  socket.gets(Uint8Array.of(1));
  socket.readyState = 2;
  drawn[0]?.();
  wire.send(Uint8Array.of(1));
  assert.deepEqual(socket.sent, []);
});

test("one that never opened could not be reached", () => {
  const { log, connect } = rig();
  connect().ends(1006);
  assert.match(log[0] ?? "", /could not be reached/);
});

test("a reconnect leaves the old connection: its late events and drawing change nothing", () => {
  const { log, drawn, connect } = rig();
  const old = connect();
  old.opens("consoled.v1");
  old.gets(HELLO);
  old.gets(Uint8Array.of(1, 2));
  const fresh = connect();
  assert.ok(old.closed);
  fresh.opens("consoled.v1");
  fresh.gets(HELLO);
  log.length = 0;
  drawn[0]?.();
  old.gets(Uint8Array.of(1));
  old.ends(1006);
  assert.deepEqual(log, []);
  assert.deepEqual(fresh.sent, []);
});

test("output that nobody throttles ends the connection instead of filling the tab's memory", () => {
  const { log, connect } = rig();
  const socket = connect();
  socket.opens("binary");
  socket.gets(new Uint8Array(FLOOD));
  socket.gets(Uint8Array.of(1));
  assert.ok(socket.closed);
  assert.match(log.at(-1) ?? "", /^Ended: the guest wrote faster/);
});

test("a connection to the same session goes on exactly where the last one broke", () => {
  const { wire, log, connect } = rig();
  assert.equal(wire.position, null);
  const socket = connect();
  socket.opens("consoled.v1");
  socket.gets(hello({ offset: 100 }));
  assert.equal(wire.position, 100);
  socket.gets(Uint8Array.of(1, 2, 3));
  assert.equal(wire.position, 103);
  const fresh = connect();
  assert.equal(wire.position, 103);
  fresh.opens("consoled.v1");
  fresh.gets(hello({ offset: 103 }));
  fresh.gets(Uint8Array.of(4));
  assert.deepEqual(log, ["hello n", "seamless", "Connected, no output yet", "Connected", "output 1"]);
  assert.equal(wire.position, 104);
});

test("each connection's acknowledgements count from its own hello", () => {
  const { drawn, connect } = rig();
  const socket = connect();
  socket.opens("consoled.v1");
  socket.gets(HELLO);
  socket.gets(Uint8Array.of(1, 2));
  drawn[0]?.();
  const fresh = connect();
  fresh.opens("consoled.v1");
  fresh.gets(hello({ offset: 2 }));
  fresh.gets(Uint8Array.of(3));
  drawn[1]?.();
  assert.deepEqual(fresh.sent, ['{"type":"ack","bytes":1}']);
});

test("missing bytes, a replay and another session are told apart", () => {
  for (const [start, told] of [
    [{ offset: 5 }, "lost 3"],
    [{ offset: 1 }, "replayed"],
    [{ session: "t", offset: 2 }, "new"],
  ] as const) {
    const { log, connect } = rig();
    const socket = connect();
    socket.opens("consoled.v1");
    socket.gets(HELLO);
    socket.gets(Uint8Array.of(1, 2));
    const fresh = connect();
    fresh.opens("consoled.v1");
    fresh.gets(hello(start));
    assert.equal(log[1], told);
  }
});

test("what was shown before is marked to be drawn again, byte-exactly, and acknowledged as all else", () => {
  const { log, drawn, connect } = rig();
  const socket = connect();
  socket.opens("consoled.v1");
  socket.gets(hello({ replay: 4 }));
  log.length = 0;
  socket.gets(Uint8Array.of(1, 2, 3));
  socket.gets(Uint8Array.of(4, 5));
  socket.gets(Uint8Array.of(6));
  assert.deepEqual(log, ["Connected", "again 3", "again 1", "output 1", "output 1"]);
  for (const done of drawn) done();
  assert.deepEqual(socket.sent, ['{"type":"ack","bytes":6}']);
});

test("while the guest is unproven nothing typed leaves, until the person confirms", () => {
  const { wire, log, connect } = rig();
  const socket = connect();
  wire.confirm();
  socket.opens("consoled.v1");
  socket.gets(hello({ unproven: true }));
  assert.equal(log.at(-1), "Connected, no output yet (held)");
  wire.send(Uint8Array.of(1));
  assert.equal(log.at(-1), "withheld");
  assert.deepEqual(socket.sent, []);
  wire.confirm();
  wire.confirm();
  wire.send(Uint8Array.of(2));
  assert.equal(log.at(-1), "Connected, no output yet");
  assert.deepEqual(socket.sent, ['{"type":"confirm"}', Uint8Array.of(2)]);
});

test("a paste is announced, told of, and cancelled, where the server counts it", () => {
  const { wire, log, connect } = rig();
  const socket = connect();
  assert.equal(wire.counts, false);
  socket.opens("consoled.v1");
  socket.gets(hello({ paste_rate: 0 }));
  assert.equal(wire.counts, true);
  wire.announce(3);
  wire.send(Uint8Array.of(1, 2, 3));
  socket.gets('{"type":"pasted","bytes":2}');
  wire.cancelPaste();
  socket.gets('{"type":"pasted","bytes":2,"dropped":0}');
  assert.deepEqual(socket.sent, ['{"type":"paste","bytes":3}', Uint8Array.of(1, 2, 3), '{"type":"cancel"}']);
  assert.deepEqual(log.slice(-2), ["pasted 2", "pasted 2, no more"]);
});

test("no paste is counted by an older server, while typing is held, or for somebody who watches", () => {
  for (const more of [{}, { paste_rate: 1, unproven: true }, { paste_rate: 1, role: "observer" }]) {
    const { wire, connect } = rig();
    const socket = connect();
    socket.opens("consoled.v1");
    socket.gets(hello(more));
    assert.equal(wire.counts, false, JSON.stringify(more));
  }
});

test("the guest's first output proves it", () => {
  const { wire, log, connect } = rig();
  const socket = connect();
  socket.opens("consoled.v1");
  socket.gets(hello({ unproven: true }));
  socket.gets(Uint8Array.of(9));
  assert.deepEqual(log.slice(-2), ["Connected", "output 1"]);
  wire.send(Uint8Array.of(1));
  assert.deepEqual(socket.sent, [Uint8Array.of(1)]);
});

test("a busy console is told by who has it; the next end is not", () => {
  const { log, connect } = rig();
  const socket = connect();
  socket.opens("consoled.v1");
  socket.gets('{"type":"busy","user":"mia","since":null,"takeover":false}');
  socket.ends(4409, "taken");
  assert.deepEqual(log, ["Ended: user mia has had this console open"]);
  const fresh = connect();
  fresh.opens("consoled.v1");
  fresh.ends(4409, "taken");
  assert.deepEqual(log, ["Ended: taken"]);
});

test("somebody who watches sends nothing but acknowledgements", () => {
  const { wire, log, drawn, connect } = rig();
  const socket = connect();
  socket.opens("consoled.v1");
  socket.gets(hello({ role: "observer" }));
  assert.equal(log.at(-1), "Watching, no output yet");
  wire.send(Uint8Array.of(1));
  socket.gets(Uint8Array.of(2));
  drawn[0]?.();
  assert.deepEqual(socket.sent, ['{"type":"ack","bytes":1}']);
  assert.equal(log.at(-2), "Watching");
  const fresh = connect();
  fresh.opens("consoled.v1");
  fresh.gets(HELLO);
  wire.send(Uint8Array.of(1));
  assert.deepEqual(fresh.sent, [Uint8Array.of(1)]);
});

test("a console that was asked for is waited for, then opened or refused", () => {
  for (const granted of [true, false]) {
    const { wire, log, connect } = rig();
    const socket = connect();
    socket.opens("consoled.v1");
    socket.gets('{"type":"waiting","user":"mia","seconds":10}');
    wire.send(Uint8Array.of(1));
    assert.deepEqual(log, ["Asked mia; waiting for the console"]);
    if (granted) socket.gets(HELLO);
    else socket.ends(4409, "Somebody else was faster.");
    assert.equal(log.at(-1), granted ? "Connected, no output yet" : "Ended: Somebody else was faster");
    assert.deepEqual(socket.sent, []);
  }
});

test("who is there and who asks is passed on while the console is open, and it can be handed over", () => {
  const { wire, log, connect } = rig();
  const socket = connect();
  socket.opens("consoled.v1");
  const said = ['{"type":"viewers","writer":"mia","observers":["noa"]}', '{"type":"takeover","user":"noa","seconds":10}'];
  for (const text of said) socket.gets(text);
  wire.handOver();
  assert.deepEqual(log, []);
  socket.gets(HELLO);
  log.length = 0;
  for (const text of said) socket.gets(text);
  socket.gets('{"type":"waiting","user":"mia","seconds":10}');
  assert.deepEqual(log, ["company mia noa", "requested noa 10"]);
  wire.handOver();
  assert.deepEqual(socket.sent, ['{"type":"handover"}']);
});

test("an abandoned connection says nothing any more", () => {
  const { wire, log, connect } = rig();
  const socket = connect();
  socket.opens("consoled.v1");
  wire.abandon();
  socket.ends(1006);
  assert.ok(socket.closed);
  assert.deepEqual(log, []);
});

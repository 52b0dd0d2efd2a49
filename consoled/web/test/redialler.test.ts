import assert from "node:assert/strict";
import { test } from "node:test";
import { Redialler } from "../src/redialler.js";
import { delayBefore, GIVE_UP, isBreak, PATIENCE } from "../src/schedule.js";
import { ending, words, type State } from "../src/states.js";

const CONNECTED: State = { kind: "connected", silent: false, held: false, watching: false };

class FakeClock {
  #now = 0;
  #timers: { at: number; run: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  chance(): number {
    return 1;
  }

  later(delay: number, run: () => void): () => void {
    const timer = { at: this.#now + delay, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  get pending(): number {
    return this.#timers.length;
  }

  advance(by: number): void {
    const until = this.#now + by;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#now = due.at;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      due.run();
    }
    this.#now = until;
  }
}

interface Rig {
  redialler: Redialler;
  clock: FakeClock;
  log: string[];
  dials: number[];
  ends(code: number, reason?: string): void;
}

/** A redialler that was connected; `dials` are the times of its attempts. */
function rig(resumable = true): Rig {
  const clock = new FakeClock();
  const log: string[] = [];
  const dials: number[] = [];
  const redialler = new Redialler(
    {
      dial: () => {
        dials.push(clock.now());
        redialler.wireChanged({ kind: "connecting" });
      },
      abandon: () => log.push("abandon"),
    },
    clock,
    (state) => log.push(words(state)),
  );
  redialler.greeted(resumable);
  redialler.wireChanged(CONNECTED);
  log.length = 0;
  const ends = (code: number, reason = ""): void =>
    redialler.wireChanged({ kind: "ended", ending: ending(code, reason, true) });
  return { redialler, clock, log, dials, ends };
}

test("the waits grow to 15 seconds, and after 5 minutes there is none", () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 99].map((tried) => delayBefore(tried, 0, 1)), [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
  assert.equal(delayBefore(9, GIVE_UP - 1, 1), 15_000);
  assert.equal(delayBefore(9, GIVE_UP, 1), null);
  assert.equal(GIVE_UP, 300_000);
});

test("a wait is by chance half of its length to all of it", () => {
  assert.deepEqual([0, 0.5, 1].map((chance) => delayBefore(0, 0, chance)), [250, 375, 500]);
  const { clock, dials, ends } = rig();
  clock.chance = () => 0;
  ends(1006);
  clock.advance(249);
  assert.deepEqual(dials, []);
  clock.advance(1);
  assert.deepEqual(dials, [250]);
});

test("a console that was asked for and is lost before it came is not redialled", () => {
  const { redialler, clock, log, dials, ends } = rig();
  redialler.forget();
  redialler.wireChanged({ kind: "waiting", user: "mia", seconds: 10 });
  ends(1006);
  clock.advance(GIVE_UP);
  assert.deepEqual(dials, []);
  assert.deepEqual(log, ["Asked mia; waiting for the console", "Ended: the connection was lost"]);
});

test("only closes that nobody meant are breaks", () => {
  for (const code of [1001, 1005, 1006, 1012, 1013]) assert.ok(isBreak(code), String(code));
  for (const code of [0, 1000, 1002, 1008, 1009, 1011, 4401, 4403, 4409, 4410, 4411, 4412, 4413, 4414]) assert.ok(!isBreak(code), String(code));
});

test("a break is redialled until it is connected, and is one state all the while", () => {
  const { redialler, clock, log, dials, ends } = rig();
  ends(1006);
  clock.advance(500);
  ends(1006);
  clock.advance(1000);
  assert.deepEqual(dials, [500, 1500]);
  assert.deepEqual(log, ["Connection lost; reconnecting"]);
  redialler.greeted(true);
  redialler.wireChanged(CONNECTED);
  assert.deepEqual(log.slice(1), ["Connected"]);
  assert.equal(clock.pending, 0);
});

test("a later break starts with the short waits again", () => {
  const { redialler, clock, dials, ends } = rig();
  for (let tries = 0; tries < 4; tries += 1) {
    ends(1006);
    clock.advance(10_000);
  }
  redialler.wireChanged(CONNECTED);
  const before = clock.now();
  ends(1001);
  clock.advance(500);
  assert.equal(dials.at(-1), before + 500);
});

test("an end that somebody meant is an end, and so is any end without a resume key", () => {
  for (const [resumable, code] of [[true, 4410], [true, 1000], [false, 1006]] as const) {
    const { clock, log, dials, ends } = rig(resumable);
    ends(code, "over");
    clock.advance(GIVE_UP);
    assert.deepEqual(log, ["Ended: over"]);
    assert.deepEqual(dials, []);
  }
});

test("an attempt that is answered ends with that answer", () => {
  const { clock, log, dials, ends } = rig();
  ends(1006);
  clock.advance(500);
  ends(4409, "mia has it");
  clock.advance(GIVE_UP);
  assert.equal(log.at(-1), "Ended: mia has it");
  assert.equal(dials.length, 1);
});

test("a server that is overloaded or away is asked again", () => {
  const { clock, log, dials, ends } = rig();
  ends(1001);
  clock.advance(500);
  ends(1013, "The database does not answer.");
  clock.advance(1000);
  assert.equal(dials.length, 2);
  assert.deepEqual(log, ["Connection lost; reconnecting"]);
});

test("after five minutes it gives up, with the last reason", () => {
  const { redialler, clock, log, dials, ends } = rig();
  ends(1006);
  while (clock.pending > 0) {
    clock.advance(15_000);
    if (log.length === 1) redialler.wireChanged({ kind: "ended", ending: ending(1006, "", false) });
  }
  assert.ok(clock.now() >= GIVE_UP && clock.now() < GIVE_UP + 40_000);
  assert.match(log.at(-1) ?? "", /^Ended: the server could not be reached/);
  const tried = dials.length;
  redialler.wake();
  clock.advance(GIVE_UP);
  assert.equal(dials.length, tried);
});

test("a network that is back is used at once; an attempt under way is left alone", () => {
  const { redialler, clock, dials, ends } = rig();
  ends(1006);
  redialler.wake();
  redialler.wake();
  assert.deepEqual(dials, [0]);
  clock.advance(500);
  assert.deepEqual(dials, [0]);
});

test("a sleep longer than five minutes still has its attempt on waking", () => {
  const { redialler, clock, dials, log, ends } = rig();
  ends(1006);
  clock.advance(500);
  clock.advance(PATIENCE);
  clock.later = () => () => {};
  clock.advance(GIVE_UP);
  redialler.wake();
  redialler.wireChanged(CONNECTED);
  assert.equal(dials.length, 2);
  assert.equal(log.at(-1), "Connected");
});

test("an attempt that hangs is given up and made anew", () => {
  const { clock, log, dials, ends } = rig();
  ends(1006);
  clock.advance(500 + PATIENCE + 1000);
  assert.deepEqual(dials, [500, 500 + PATIENCE + 1000]);
  assert.deepEqual(log, ["Connection lost; reconnecting", "abandon"]);
});

test("Reconnect now dials at once, in place of a hanging attempt too, and only where there is a break", () => {
  const { redialler, clock, dials, ends } = rig();
  assert.equal(redialler.dialNow(), false);
  ends(1006);
  assert.equal(redialler.dialNow(), true);
  clock.advance(100);
  assert.equal(redialler.dialNow(), true);
  assert.deepEqual(dials, [0, 100]);
});

test("Stop ends it with the reason of the break", () => {
  const { redialler, clock, log, dials, ends } = rig();
  ends(1001, "The daemon restarts.");
  clock.advance(500);
  redialler.stop();
  redialler.stop();
  clock.advance(GIVE_UP);
  assert.deepEqual(log, ["Connection lost; reconnecting", "abandon", "Ended: The daemon restarts"]);
  assert.equal(dials.length, 1);
});

test("a connection that the person makes anew is not redialled before it is open", () => {
  const { redialler, clock, log, dials, ends } = rig();
  ends(1006);
  redialler.forget();
  redialler.wireChanged({ kind: "connecting" });
  ends(1006);
  clock.advance(GIVE_UP);
  assert.deepEqual(dials, []);
  assert.deepEqual(log, ["Connection lost; reconnecting", "Connecting", "Ended: the connection was lost"]);
});

test("an instance that stopped is waited for as long as the server says, and no longer", () => {
  const { redialler, clock, log, dials, ends } = rig();
  redialler.greeted(true, 20_000);
  ends(4413, "web-1 has stopped.");
  for (let looks = 0; looks < 50 && clock.pending > 0; looks += 1) {
    clock.advance(3000);
    if (dials.length > looks) ends(4413, "web-1 is not running. Start it and connect again.");
  }
  assert.deepEqual(log, ["web-1 has stopped; waiting for its start", "Ended: web-1 has stopped"]);
  assert.ok(dials.length > 5 && dials.every((at) => at < 24_000), String(dials));
});

test("while it starts its port may refuse; then it is connected", () => {
  const { redialler, clock, log, dials, ends } = rig();
  redialler.greeted(true, 20_000);
  ends(4413);
  clock.advance(500);
  ends(1011, "The serial port 0 of web-1 refused the connection.");
  clock.advance(1000);
  assert.deepEqual(dials, [500, 1500]);
  redialler.greeted(true, 20_000);
  redialler.wireChanged(CONNECTED);
  assert.deepEqual(log, ["the instance is stopped; waiting for its start", "Connected"]);
  assert.equal(clock.pending, 0);
});

test("an instance that is gone, or whose token is used up, is not waited for", () => {
  const { redialler, clock, log, ends } = rig();
  redialler.greeted(true, 20_000);
  ends(4413);
  clock.advance(500);
  ends(4401, "The instance of this URL does not exist any more.");
  assert.deepEqual(log.slice(1), ["Ended: The instance of this URL does not exist any more"]);
  assert.equal(clock.pending, 0);
});

test("without the server's word a stop is the end", () => {
  const { log, dials, ends } = rig();
  ends(4413, "web-1 has stopped.");
  assert.deepEqual([log, dials], [["Ended: web-1 has stopped"], []]);
});

test("a server that comes back after the instance stopped begins that wait anew", () => {
  const { redialler, clock, log, ends } = rig();
  redialler.greeted(true, 20_000);
  ends(1006);
  clock.advance(500);
  ends(4413, "web-1 has stopped.");
  assert.deepEqual(log, ["Connection lost; reconnecting", "web-1 has stopped; waiting for its start"]);
  redialler.stop();
  assert.equal(log.at(-1), "Ended: web-1 has stopped");
});

/** The page, put together: token, wire, terminal and controls. */

import "@xterm/xterm/css/xterm.css";
import "./page.css";
import { arrive } from "./arrival.js";
import { breakSections, sysrqSections, type BreakActions } from "./break-menu.js";
import { copyText, readText } from "./clipboard.js";
import { editSections, keySections, viewSections, type Actions } from "./commands.js";
import { companyOf } from "./company.js";
import { CompanyBox } from "./company-box.js";
import { byId } from "./dom.js";
import { encodeText } from "./encode.js";
import { FindBar } from "./find.js";
import { ForceDialog } from "./force-dialog.js";
import { Header } from "./header.js";
import { HeldBar } from "./held.js";
import { KeyBar } from "./keybar.js";
import { LinkDialog } from "./link-dialog.js";
import { Menu } from "./menu.js";
import { Notices } from "./notices.js";
import { Pasting } from "./paste.js";
import { PasteBar } from "./paste-bar.js";
import { stoppedWords } from "./paste-words.js";
import { fontSize, PreferenceStore, type Theme } from "./preferences.js";
import { Redialler } from "./redialler.js";
import { lostWords, NEW_SESSION, type Join } from "./resume.js";
import { ResumeKeeper } from "./resume-key.js";
import { shortcutOf, type Shortcut } from "./shortcuts.js";
import { NO_TOKEN, plain, type Claim, type Ending, type State } from "./states.js";
import { installStrictStyles } from "./styles.js";
import { SysrqDialog } from "./sysrq-dialog.js";
import { ConsoleTerminal } from "./terminal.js";
import { ThemeSwitch } from "./theme.js";
import { socketUrl } from "./token.js";
import { askedWords, requestWords } from "./turn.js";
import { TurnBar } from "./turn-bar.js";
import { WatchHint } from "./watch-hint.js";
import { Wire } from "./wire.js";

const MAC = /Mac|iPhone|iPad/.test(navigator.platform);

/** What opens this page's console. */
interface Keys {
  readonly token: string;
  readonly resume: ResumeKeeper;
}

/** The keys that this page came with. */
function takeKeys(): Keys | null {
  const came = arrive();
  return came === null ? null : { token: came.token, resume: new ResumeKeeper(came.shelf, came.slot) };
}

function start(keys: Keys | null): void {
  installStrictStyles();
  const preferences = new PreferenceStore(() => localStorage);
  let state: State = { kind: "connecting" };
  /** Who has the console that the person asks for. */
  let askedOf: Ending | null = null;
  let guest = "";
  let breakable = false;
  let shell = false;

  const terminal = new ConsoleTerminal(
    byId("terminal", HTMLElement),
    {
      typed: (text) => {
        notices.typed();
        pasting.type(encodeText(keyBar.apply(text)));
      },
      pasted: (paste) => {
        notices.typed();
        pasting.paste(paste);
      },
      reported: (bytes) => pasting.type(bytes),
      linkChosen: (address) => links.ask(address),
      typedInVain: () => {
        if (watching()) hint.show();
      },
      keyPressed,
      found: (at, count) => find.found(at, count),
      resized: (size) => wire.resize(size),
    },
    preferences.now.fontSize,
    preferences.now.screenReader,
  );
  const refocus = (): void => terminal.focus();
  const header = new Header({
    reconnect: () => {
      if (!redialler.dialNow()) connect();
      terminal.focus();
    },
    claim: (claim) => {
      if (claim === "force") force.ask();
      else claimNow(claim);
    },
    stop: () => redialler.stop(),
    refocus,
  });
  const held = new HeldBar(() => wire.confirm(), refocus);
  const asking = new TurnBar({ id: "cancel-asking", label: "Cancel", run: stopAsking }, refocus);
  const request = new TurnBar({ id: "hand-over", label: "Hand over now", run: () => wire.handOver() }, refocus);
  const company = new CompanyBox(refocus);
  const force = new ForceDialog(() => claimNow("force"), refocus);
  const pasteBar = new PasteBar(() => pasting.cancel(), refocus);
  const sysrq = new SysrqDialog((key) => wire.sendBreak(key.key), refocus);
  const hint = new WatchHint();
  const notices = new Notices(refocus);
  const links = new LinkDialog(refocus);
  const find = new FindBar(terminal);
  const keyBar = new KeyBar(byId("keybar", HTMLElement), terminal);
  const menu = new Menu(byId("menu", HTMLElement), refocus);
  const theme = new ThemeSwitch((colours) => {
    terminal.colours = colours;
  });

  const wire = new Wire((url, protocols) => new WebSocket(url, protocols), {
    stateChanged: (next) => redialler.wireChanged(next),
    greeted: (hello) => {
      if (keys !== null) keys.resume.key = hello.resume;
      redialler.greeted(hello.resume !== null, hello.linger * 1000);
      header.name(hello);
      guest = plain(hello.name, 100);
      breakable = hello.breaks;
      shell = hello.shell;
    },
    joined,
    noticed: (notice) => notices.show(notice.text, notice),
    companyChanged: (viewers) => company.show(companyOf(viewers, watching())),
    requested: ({ user, seconds }) => {
      if (user === null) request.hide();
      else request.show(seconds, (left) => requestWords(user, left));
    },
    output: (bytes, drawn, again) => {
      if (again) terminal.replay(bytes, drawn);
      else terminal.write(bytes, drawn);
    },
    pasted: ({ bytes, dropped }) => pasting.counted(bytes, dropped),
    withheld: () => held.withheld(),
  });
  const pasting = new Pasting(wire, {
    progressed: (progress) => pasteBar.show(progress),
    finished: () => pasteBar.hide(),
    stopped: (progress, why) => {
      pasteBar.hide();
      notices.show(stoppedWords(progress, why));
    },
  });

  const redialler = new Redialler(
    { dial: () => dial(null), abandon: () => wire.abandon() },
    {
      now: () => performance.now(),
      later: (delay, run) => {
        const timer = setTimeout(run, delay);
        return () => clearTimeout(timer);
      },
      chance: () => Math.random(),
    },
    showState,
  );

  function connect(claim: Claim | null = null): void {
    redialler.forget();
    if (keys === null) showState({ kind: "ended", ending: NO_TOKEN });
    else dial(claim);
  }

  function claimNow(claim: Claim): void {
    askedOf = state.kind === "ended" ? state.ending : null;
    connect(claim);
    terminal.focus();
  }

  /** The person does not want to wait for the console any more. */
  function stopAsking(): void {
    if (askedOf === null) return;
    wire.abandon();
    redialler.forget();
    showState({ kind: "ended", ending: askedOf });
  }

  function watching(): boolean {
    return state.kind === "connected" && state.watching;
  }

  function dial(claim: Claim | null): void {
    if (keys === null) return;
    const wish = { resume: keys.resume.key, since: wire.position, claim };
    wire.connect(socketUrl(location, keys.token, wish));
  }

  function joined(join: Join): void {
    switch (join.kind) {
      case "first":
      case "seamless":
        return;
      case "lost":
        terminal.endSequence();
        notices.show(lostWords(join.bytes));
        return;
      case "replayed":
        terminal.startOver();
        return;
      case "new":
        notices.endWarnings();
        if (state.kind === "reconnecting") notices.show(NEW_SESSION);
        terminal.startAfresh();
    }
  }

  function showState(next: State): void {
    state = next;
    terminal.live = next.kind === "connected" && !next.watching;
    held.show(next.kind === "connected" && next.held);
    if (next.kind === "waiting") asking.show(next.seconds, (left) => askedWords(next.user, left));
    else asking.hide();
    if (next.kind !== "connected") {
      breakable = false;
      sysrq.withdraw();
      pasting.broken();
      // What is said of the others ends with the connection, and begins anew with the next.
      request.hide();
      company.show(null);
      hint.hide();
    }
    if (next.kind === "ended") notices.endWarnings();
    header.show(next, keys !== null);
  }

  function paste(): void {
    void readText().then((text) => {
      if (text === null) {
        notices.show(`This browser does not let the page read the clipboard. Press ${MAC ? "⌘V" : "Ctrl+Shift+V"} to paste.`);
      } else if (text !== "") {
        terminal.paste(text);
      }
    });
  }

  function copy(): void {
    if (terminal.selection === "") return;
    void copyText(terminal.selection).then((copied) => {
      if (!copied) notices.show("This browser does not let the page set the clipboard.");
    });
  }

  function resizeText(by: number): void {
    terminal.fontSize = preferences.change({ fontSize: fontSize(preferences.now.fontSize + by) }).fontSize;
  }

  function keyPressed(event: KeyboardEvent): boolean {
    const shortcut = shortcutOf(event, MAC);
    if (shortcut === null) return false;
    const does: Record<Exclude<Shortcut, "paste">, () => void> = {
      copy,
      find: () => find.open(),
      larger: () => resizeText(1),
      smaller: () => resizeText(-1),
      toolbar: () => header.focus(),
    };
    // Paste is left to the browser, whose paste event needs no permission.
    if (shortcut !== "paste") {
      event.preventDefault();
      does[shortcut]();
    }
    return true;
  }

  const actions: Actions = {
    get hasSelection() {
      return terminal.selection !== "";
    },
    get live() {
      return state.kind === "connected" && !state.watching;
    },
    get sized() {
      return shell;
    },
    get applicationCursor() {
      return terminal.applicationCursor;
    },
    get theme() {
      return preferences.now.theme;
    },
    get screenReader() {
      return preferences.now.screenReader;
    },
    get guestClipboard() {
      return terminal.guestClipboard.writable;
    },
    set guestClipboard(on: boolean) {
      terminal.guestClipboard.writable = on;
    },
    copy,
    paste,
    resizeText,
    selectAll: () => terminal.selectAll(),
    find: () => find.open(),
    clear: () => terminal.clear(),
    reset: () => terminal.reset(),
    type: (text) => terminal.type(text),
    typeSize: () => terminal.type(`stty rows ${terminal.size.rows} cols ${terminal.size.cols}`),
    chooseTheme: (choice: Theme) => theme.choose(preferences.change({ theme: choice }).theme),
    switchScreenReader: (on) => {
      terminal.screenReader = preferences.change({ screenReader: on }).screenReader;
    },
  };

  const breaks: BreakActions = {
    get live() {
      return actions.live;
    },
    get allowed() {
      return breakable;
    },
    send: () => wire.sendBreak(null),
    choose: () => {
      const [wide, narrow] = [byId("menu-keys", HTMLElement), byId("menu-all", HTMLElement)];
      const { left, bottom } = (wide.offsetParent === null ? narrow : wide).getBoundingClientRect();
      menu.openAt({ x: left, y: bottom + 4 }, "SysRq", sysrqSections(breaks));
    },
    sendSysrq: (key) => {
      if (key.danger === undefined) wire.sendBreak(key.key);
      else sysrq.ask(key, guest);
    },
  };

  const edit = (): ReturnType<typeof editSections> => editSections(actions, MAC);
  const keyMenu = (): ReturnType<typeof keySections> => [...keySections(actions), ...breakSections(breaks)];
  const view = (): ReturnType<typeof viewSections> => viewSections(actions);
  menu.attach(byId("menu-edit", HTMLButtonElement), edit);
  menu.attach(byId("menu-keys", HTMLButtonElement), keyMenu);
  menu.attach(byId("menu-view", HTMLButtonElement), view);
  menu.attach(byId("menu-all", HTMLButtonElement), () => [...edit(), ...keyMenu(), ...view()]);
  byId("smaller", HTMLButtonElement).addEventListener("click", () => resizeText(-1));
  byId("larger", HTMLButtonElement).addEventListener("click", () => resizeText(1));
  byId("tools", HTMLElement).addEventListener("keydown", (event) => {
    if (event.key === "Escape") terminal.focus();
  });
  byId("terminal", HTMLElement).addEventListener("contextmenu", (event) => {
    // With Shift the browser's own menu; a guest that takes the mouse gets the click alone.
    if (event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (!terminal.mouseTaken || watching()) menu.openAt({ x: event.clientX, y: event.clientY }, "Console", edit());
  }, { capture: true });

  addEventListener("online", () => redialler.wake());
  const shelve = (on: boolean): void => keys?.resume.shelve(on);
  addEventListener("pagehide", () => shelve(true));
  addEventListener("pageshow", () => shelve(document.hidden));
  document.addEventListener("visibilitychange", () => {
    shelve(document.hidden);
    if (!document.hidden) redialler.wake();
  });

  theme.choose(preferences.now.theme);
  shelve(document.hidden);
  connect();
  // In a frame the focus stays with the dashboard until the person clicks here.
  if (window === window.top) terminal.focus();
}

start(takeKeys());

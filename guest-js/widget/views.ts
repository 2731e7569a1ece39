import { SyncError } from "../errors.js";
import { button, drawing, form, h } from "./dom.js";
import type { Shown } from "../pairing.js";
import type { Flow, Screen } from "./flow.js";
import { clock, isFinal, type Words, wordsFor } from "./words.js";

/** A screen as elements. */
export interface View {
  /** For programs: `data-screen`. */
  readonly name: string;
  /** The heading. */
  readonly title: string;
  /** What those hear who do not see it, if it is more than the heading. */
  readonly said?: string;
  /** What stands above it. */
  readonly mark?: Node;
  /** What is under it. */
  readonly body: readonly (Node | undefined)[];
  /** What takes the focus; the heading if there is nothing to type. */
  readonly focus?: HTMLElement;
  /** Whether it uses the room of a wide window. */
  readonly wide?: boolean;
  /** Called at once and every second. */
  readonly tick?: () => void;
}

/** Tells those who do not see the screen. */
export type Say = (text: string) => void;

type At<T extends Screen["at"]> = Extract<Screen, { at: T }>;

/** The elements of a screen. */
export function view(screen: Screen, flow: Flow, say: Say, leave: () => void): View {
  switch (screen.at) {
    case "start":
      return start(flow, leave);
    case "waiting":
      return waiting(screen, flow, leave);
    case "shown":
      return shown(screen, flow, say, leave);
    case "expired":
      return expired(screen, flow, leave);
    case "paste":
      return paste(screen, flow, say, leave);
    case "digits":
      return digits(screen, leave);
    case "type":
      return typeDigits(screen, flow, say, leave);
    case "consent":
      return consent(screen, flow);
    case "done":
      return {
        name: "done",
        title: screen.words.what,
        mark: mark("good"),
        body: [text(screen.words.next), actions(button("done", "primary", "Done", () => flow.close()))],
      };
    case "error":
      return error(screen, flow);
  }
}

function start(flow: Flow, leave: () => void): View {
  return {
    name: "start",
    title: "Connect your devices",
    body: [
      text("Everything travels end-to-end encrypted: only your own devices can read it."),
      h(
        "div",
        { class: "choices" },
        choice("choose-add", PLUS, "Add a device", "This device has the data. Another one gets it.", () => void flow.add()),
        choice("choose-join", ARROW, "Join a device", "Another device has the data. It comes here.", () => flow.paste("join")),
      ),
      h("div", { class: "below" }, button("close", "quiet", "Not now", leave)),
    ],
  };
}

function waiting({ words, agreed }: At<"waiting">, flow: Flow, leave: () => void): View {
  const end = agreed
    ? button("close", "plain", "Close", () => flow.close())
    : button("cancel", "plain", "Cancel", leave);
  const dots = h("div", { class: "busy", "aria-hidden": "true" }, h("i"), h("i"), h("i"));
  return { name: "waiting", title: `${words.what}…`, body: [text(words.next), dots, actions(end)] };
}

function shown({ mode, shown: link }: At<"shown">, flow: Flow, say: Say, leave: () => void): View {
  const add = mode === "add";
  const label = add ? "QR code that adds another device" : "QR code that lets this device join another one";
  const qr = drawing(link.svg, label);
  const field = h("input", {
    id: "link",
    class: "mono",
    readonly: true,
    value: link.uri,
    "data-testid": "link",
    autocomplete: "off",
    spellcheck: "false",
  });
  field.addEventListener("focus", () => field.select());
  const copy = button("copy", "plain", "Copy", () => void copyLink(field, copy, say));
  const left = h("span", { role: "timer", "data-testid": "countdown" });
  let minuteSaid = false;
  const tick = () => {
    const ms = link.expiresAt.getTime() - Date.now();
    left.textContent = clock(ms);
    if (ms <= 60_000 && !minuteSaid) {
      minuteSaid = true;
      say("This code works for one more minute at most.");
    }
    if (ms <= 0) flow.expired(mode);
  };
  const other = button("paste-instead", "quiet", "Type or paste what the other device shows instead", () => flow.paste(mode));
  const how = link.code === null ? "Scan the QR code there, or paste the link." : "Scan the QR code there, or type the code.";
  const words = add
    ? `On the other device, open this app and choose “Join a device”. ${how}`
    : `On the device that has the data, choose “Add a device”. ${how}`;
  return {
    name: add ? "add" : "join-show",
    title: add ? "Add a device" : "Join a device",
    wide: true,
    tick,
    body: [
      h(
        "div",
        { class: "columns" },
        h("div", { class: "qr", "data-testid": "qr" }, qr),
        h(
          "div",
          {},
          text(words),
          link.code === null ? undefined : shortCode(link.code, link, say),
          h("label", { for: "link" }, "Link"),
          h("div", { class: "link" }, field, copy),
          h("p", { class: "left" }, "Works once, for ", left, " more"),
          h("div", { class: "below" }, other, button("cancel", "quiet", "Cancel", leave)),
        ),
      ),
    ],
  };
}

/** The short code, as long as it is worth something. */
function shortCode(code: string, link: Shown, say: Say): HTMLElement {
  const words = h("p", { class: "words", "data-testid": "code" }, code);
  const label = h("span", { class: "label", id: "short" }, "Code");
  const box = h("div", { class: "short", role: "group", "aria-labelledby": "short" }, label, words);
  link.onCodeOver((reason) => {
    const why = reason.code === "WRONG_CODE" ? "Somebody has typed another one." : "The relay has let go of it.";
    const note = `The code is void now. ${why} The QR code and the link still work.`;
    box.removeAttribute("role");
    box.removeAttribute("aria-labelledby");
    box.replaceChildren(h("p", { class: "note", "data-testid": "code-over" }, note));
    say(note);
  });
  return box;
}

function expired({ mode }: At<"expired">, flow: Flow, leave: () => void): View {
  const words = wordsFor(new SyncError("PAIRING_EXPIRED", ""));
  const again = () => void (mode === "add" ? flow.add() : flow.offer());
  return {
    name: "expired",
    title: words.what,
    body: [
      text(words.next),
      actions(button("new-code", "primary", "New code", again), button("cancel", "plain", "Cancel", leave)),
    ],
  };
}

function paste({ mode, link, note }: At<"paste">, flow: Flow, say: Say, leave: () => void): View {
  const add = mode === "add";
  const field = h("textarea", {
    id: "paste",
    class: "mono",
    rows: "3",
    "data-testid": "paste",
    "aria-describedby": "problem",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    placeholder: "7-word-word-word",
  });
  field.value = link;
  const problem = h("p", { id: "problem", class: "problem", "data-testid": "problem" });
  const submit = () => {
    if (field.value.trim() !== "") return void flow.connect(field.value, mode);
    complain(field, problem, "Type the code or paste the link of the other device first.", say);
  };
  field.addEventListener("input", () => calm(field, problem));
  field.addEventListener("keydown", (event) => {
    // Neither has lines: Enter sends it.
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  const connect = h("button", { type: "submit", class: "primary", "data-testid": "connect" }, "Connect");
  const back = button("cancel", "plain", "Back", leave);
  const words = add
    ? "On the other device, choose “Join a device”, and show a code there. Type it here, or paste its link."
    : "On the device that has the data, choose “Add a device”. Type its code here, or paste its link.";
  const offer = !add && flow.canOffer;
  return {
    name: add ? "add-paste" : "join",
    title: add ? "Add a device by its code" : "Join a device",
    focus: field,
    body: [
      text(words),
      form(submit, h("label", { for: "paste" }, "The other device's code or link"), field, problem, actions(connect, back)),
      note && h("p", { class: "note", "data-testid": "note" }, h("strong", {}, `${note.what}. `), note.next),
      offer
        ? h(
            "div",
            { class: "below" },
            button("show-instead", "quiet", "Show a code on this device instead", () => void flow.offer()),
          )
        : undefined,
    ],
  };
}

function digits({ digits: code }: At<"digits">, leave: () => void): View {
  const spoken = [...code].join(" ");
  const boxes = h("div", { class: "code", role: "img", "aria-label": spoken, "data-testid": "digits" });
  boxes.append(...[...code].map((digit) => h("span", {}, digit)));
  return {
    name: "show-digits",
    title: "Type these on the other device",
    body: [
      boxes,
      text("They prove that the two devices talk to each other, and to nobody in between."),
      actions(button("cancel", "plain", "Cancel", leave)),
    ],
  };
}

function typeDigits({ name, submit }: At<"type">, flow: Flow, say: Say, leave: () => void): View {
  const field = h("input", {
    id: "digits",
    class: "digits",
    type: "text",
    inputmode: "numeric",
    pattern: "[0-9]*",
    maxlength: "4",
    autocomplete: "one-time-code",
    "data-testid": "digit-input",
    "aria-describedby": "problem",
  });
  const problem = h("p", { id: "problem", class: "problem", "data-testid": "problem" });
  field.addEventListener("input", () => {
    field.value = field.value.replace(/\D/g, "").slice(0, 4);
    calm(field, problem);
  });
  const yes = h("button", { type: "submit", class: "primary", "data-testid": "add" }, name === undefined ? "Continue" : "Add");
  const send = async () => {
    if (busy(yes)) return;
    if (field.value.length < 4) return complain(field, problem, "Type all four digits.", say);
    busy(yes, true);
    busy(no, name !== undefined);
    try {
      await submit(field.value);
    } catch {
      complain(field, problem, "Those are not the digits. You have one more try.", say);
      field.select();
    } finally {
      busy(yes, false);
      busy(no, false);
    }
  };
  const no = name === undefined ? button("cancel", "plain", "Cancel", leave) : refuseButton(flow);
  return {
    name: "type-digits",
    title: name === undefined ? "Type the digits" : `Add «${name}»?`,
    focus: field,
    body: [
      text("The other device shows four digits. Type them only if it is yours and in front of you."),
      form(() => void send(), h("label", { for: "digits" }, "Four digits"), field, problem, actions(yes, no)),
    ],
  };
}

function consent({ name, yes }: At<"consent">, flow: Flow): View {
  const add = button("add", "primary", "Add", () => {
    if (busy(add)) return;
    for (const each of [add, no]) busy(each, true);
    void yes().finally(() => {
      for (const each of [add, no]) busy(each, false);
    });
  });
  const no = refuseButton(flow);
  return {
    name: "consent",
    title: `Add «${name}»?`,
    body: [
      text("It will be able to read everything that is synced. Add it only if it is yours."),
      actions(add, no),
    ],
  };
}

function error({ words, code, again }: At<"error">, flow: Flow): View {
  return {
    name: "error",
    title: words.what,
    said: `${words.what}. ${words.next}`,
    mark: mark(code === "REFUSED_HERE" ? "good" : "bad"),
    body: [
      h("p", { "data-testid": "error-next", "data-code": code }, words.next),
      actions(
        isFinal(code) ? undefined : button("again", "primary", "Try again", again),
        button("close", isFinal(code) ? "primary" : "plain", "Close", () => flow.close()),
      ),
    ],
  };
}

function text(words: Words["next"]): HTMLElement {
  return h("p", {}, words);
}

export function actions(...buttons: (HTMLElement | undefined)[]): HTMLElement {
  return h("div", { class: "actions" }, ...buttons);
}

export function choice(testid: string, icon: string, title: string, words: string, onClick: () => void): HTMLElement {
  const element = button(testid, "plain", "", onClick);
  element.className = "choice";
  element.append(drawn(icon), h("b", {}, title), h("span", {}, words));
  return element;
}

/** Whether a button is at work; the second argument says so. It stays in the tab order, so that the focus is not lost. */
export function busy(element: HTMLElement, now?: boolean): boolean {
  if (now !== undefined) element.setAttribute("aria-disabled", String(now));
  return element.getAttribute("aria-disabled") === "true";
}

/** A no. While a yes is on its way it would come too late, and only look like one. */
function refuseButton(flow: Flow): HTMLButtonElement {
  const refuse = button("refuse", "plain", "Refuse", () => {
    if (!busy(refuse)) flow.refuse();
  });
  return refuse;
}

/** What was wrong is being put right. */
export function calm(field: HTMLElement, problem: HTMLElement): void {
  field.removeAttribute("aria-invalid");
  problem.textContent = "";
}

export function complain(field: HTMLElement, problem: HTMLElement, words: string, say: Say): void {
  field.setAttribute("aria-invalid", "true");
  problem.textContent = words;
  say(words);
  field.focus();
}

async function copyLink(field: HTMLInputElement, copy: HTMLButtonElement, say: Say): Promise<void> {
  let copied = false;
  try {
    await navigator.clipboard.writeText(field.value);
    copied = true;
  } catch {
    // Some webviews have no clipboard for pages. The old way works there, or the person copies what is selected.
    field.select();
    copied = typeof document.execCommand === "function" && document.execCommand("copy");
  }
  copy.textContent = copied ? "Copied" : "Selected";
  say(copied ? "The link was copied." : "The link is selected. Copy it with the keyboard.");
  setTimeout(() => (copy.textContent = "Copy"), 2_500);
}

const STROKE = 'fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round"';
const SVG = `xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" ${STROKE}`;
const PLUS = `<svg ${SVG}><rect x="3" y="3" width="11" height="18" rx="2.5"/><path d="M7.5 18h2M19 9v6M16 12h6"/></svg>`;
export const ARROW = `<svg ${SVG}><rect x="10" y="3" width="11" height="18" rx="2.5"/><path d="M14.5 18h2M2 12h9M8 9l3 3-3 3"/></svg>`;
export const PAPER = `<svg ${SVG}><path d="M6 3h9l4 4v14H6zM15 3v4h4M9 12h7M9 16h7"/></svg>`;
const TICK = `<svg ${SVG}><circle cx="12" cy="12" r="9"/><path d="M8 12.3l2.7 2.7L16 9.5"/></svg>`;
const BANG = `<svg ${SVG}><circle cx="12" cy="12" r="9"/><path d="M12 7.5v5.5M12 16.4v.1"/></svg>`;

function drawn(icon: string): Element {
  const element = document.importNode(new DOMParser().parseFromString(icon, "image/svg+xml").documentElement, true);
  element.setAttribute("aria-hidden", "true");
  return element;
}

export function mark(kind: "good" | "bad"): Node {
  const element = drawn(kind === "good" ? TICK : BANG);
  element.setAttribute("class", `mark ${kind}`);
  return element;
}

import type { RecoveredGroup, SyncStatus } from "../bindings.js";
import type { SyncError } from "../errors.js";
import { beginning, split, wordOf } from "./bip39.js";
import { ago } from "./devices-words.js";
import { button, form, h } from "./dom.js";
import { printed } from "./print.js";
import { actions, busy, calm, choice, complain, mark, PAPER, ARROW, type View } from "./views.js";
import { kitWords } from "./words.js";

/** A kit, while it is shown. */
export interface Kit {
  readonly words: readonly string[];
  readonly relay: string;
}

/** What the person sees. */
export type Step =
  | { at: "start" }
  | { at: "make" }
  | { at: "words"; kit: Kit }
  | { at: "check"; kit: Kit; asked: readonly number[] }
  | { at: "made" }
  | { at: "recover"; words?: readonly string[]; relay?: string }
  | { at: "fresh" }
  | { at: "back"; back: RecoveredGroup }
  | { at: "waiting"; what: string; next: string }
  | { at: "error"; error: SyncError; again: Step };

/** What the screens can do. */
export interface Ways {
  readonly status: SyncStatus | undefined;
  say(text: string): void;
  go(step: Step): void;
  make(): void;
  written(): void;
  recover(words: string[], relay: string): void;
  fresh(): void;
  back(): boolean;
  close(): void;
}

/** How many words a kit has. */
const WORDS = 24;
/** How many of them a person is asked for. */
const ASKED = 3;

/** The elements of a screen. */
export function kitView(step: Step, ways: Ways): View {
  switch (step.at) {
    case "start":
      return start(ways);
    case "make":
      return make(ways);
    case "words":
      return words(step.kit, ways);
    case "check":
      return check(step.kit, step.asked, ways);
    case "made": {
      const next = "Keep the paper where you would keep a key to your home. You can make another kit any time: the old words are worth nothing then.";
      const done = button("done", "primary", "Done", () => ways.close());
      return { name: "made", title: "Your recovery kit is ready", mark: mark("good"), body: [p(next), actions(done)] };
    }
    case "recover":
      return recover(step.words ?? [], step.relay ?? "", ways);
    case "fresh":
      return fresh(ways);
    case "back":
      return back(step.back, ways);
    case "waiting": {
      const dots = h("div", { class: "busy", "aria-hidden": "true" }, h("i"), h("i"), h("i"));
      return { name: "waiting", title: `${step.what}…`, body: [p(step.next), dots] };
    }
    case "error": {
      const { what, next } = kitWords(step.error);
      const again = button("again", "primary", "Back", () => ways.go(step.again));
      const code = h("p", { "data-testid": "error-next", "data-code": step.error.code }, next);
      const close = button("close", "plain", "Close", () => ways.close());
      const below = step.again.at === "recover" ? freshly(ways) : undefined;
      return { name: "error", title: what, said: `${what}. ${next}`, mark: mark("bad"), body: [code, actions(again, close), below] };
    }
  }
}

function p(text: string): HTMLElement {
  return h("p", {}, text);
}

function freshly(ways: Ways): HTMLElement {
  return h("div", { class: "below" }, button("start-fresh", "quiet", "I do not have the words: start fresh", () => ways.go({ at: "fresh" })));
}

function leave(ways: Ways): void {
  if (!ways.back()) ways.close();
}

function start(ways: Ways): View {
  return {
    name: "start",
    title: "If every device is lost",
    body: [
      p("24 words on paper lead back to your data when none of your devices is left."),
      h(
        "div",
        { class: "choices" },
        choice("choose-make", PAPER, "Make a recovery kit", "For a device that has the data. You need paper.", () => ways.go({ at: "make" })),
        choice("choose-recover", ARROW, "Come back by the words", "All devices are lost, and you have the words.", () => ways.go({ at: "recover" })),
      ),
      freshly(ways),
      h("div", { class: "below" }, button("close", "quiet", "Not now", () => ways.close())),
    ],
  };
}

function make(ways: Ways): View {
  const replaces = ways.status?.recoveryKit === true;
  const go = button("make", "primary", replaces ? "Make a new kit" : "Show the words", () => {
    if (busy(go)) return;
    busy(go, true);
    ways.make();
  });
  return {
    name: "make",
    title: replaces ? "Replace your recovery kit?" : "Make a recovery kit",
    body: [
      replaces
        ? h("p", { class: "note", "data-testid": "replaces" }, h("strong", {}, "You have a kit already. "), "Its words are worth nothing once there is a new one.")
        : undefined,
      p("You are shown 24 words, this once. Write them on paper, in their order, with the address below them."),
      p("Whoever has the words can take all of this over: keep them where nobody else looks, and in no file or photo."),
      actions(go, button("cancel", "plain", "Not now", () => leave(ways))),
    ],
  };
}

function words(kit: Kit, ways: Ways): View {
  const list = h("ol", { class: "kit", "data-testid": "kit-words", "aria-label": "The 24 words" });
  list.append(...kit.words.map((word, at) => h("li", {}, h("span", {}, `${at + 1}.`), h("b", {}, word))));
  const copy = button("copy", "plain", "Copy", () => void copied(kit, copy, list, ways));
  const print = button("print", "plain", "Print", () => printed(kit));
  const done = button("written", "primary", "I have written it down", () => ways.go({ at: "check", kit, asked: asked() }));
  return {
    name: "words",
    title: "Write these 24 words down",
    said: "Write these 24 words down. They are shown this once.",
    body: [
      list,
      h("p", { class: "relay" }, "Relay: ", h("strong", { class: "mono", "data-testid": "kit-relay" }, kit.relay)),
      h("div", { class: "actions" }, copy, print),
      p("A copy lies in the clipboard for every app to read. Paper is better."),
      actions(done),
    ],
  };
}

async function copied(kit: Kit, copy: HTMLButtonElement, list: HTMLElement, ways: Ways): Promise<void> {
  let done = false;
  try {
    await navigator.clipboard.writeText(`${kit.words.join(" ")}\n${kit.relay}`);
    done = true;
  } catch {
    // Some webviews have no clipboard for pages: then the person copies what is selected.
    getSelection()?.selectAllChildren(list);
  }
  copy.textContent = done ? "Copied" : "Selected";
  ways.say(done ? "The words were copied." : "The words are selected. Copy them with the keyboard.");
  setTimeout(() => (copy.textContent = "Copy"), 2_500);
}

/** Which words are asked for: different ones, in their order. */
function asked(): number[] {
  const all = Array.from({ length: WORDS }, (_, at) => at);
  const drawn = crypto.getRandomValues(new Uint32Array(ASKED));
  return [...drawn].map((draw) => all.splice(draw % all.length, 1)[0] ?? 0).sort((a, b) => a - b);
}

function check(kit: Kit, asked: readonly number[], ways: Ways): View {
  const problem = h("p", { id: "problem", class: "problem", "data-testid": "problem" });
  const fields = asked.map((at) => {
    const field = entry(`word-${at + 1}`, `asked`);
    field.addEventListener("input", () => calm(field, problem));
    return { at, field };
  });
  const submit = (): void => {
    const wrong = fields.find(({ at, field }) => wordOf(field.value) !== kit.words[at]);
    if (!wrong) return ways.written();
    complain(wrong.field, problem, `Word ${wrong.at + 1} is another one. Look at your paper.`, ways.say);
    wrong.field.select();
  };
  const rows = fields.map(({ at, field }) => h("div", {}, h("label", { for: field.id }, `Word ${at + 1}`), field));
  const yes = h("button", { type: "submit", class: "primary", "data-testid": "check" }, "Check");
  const again = button("look-again", "plain", "Show the words again", () => ways.go({ at: "words", kit }));
  const first = fields[0]?.field;
  return {
    name: "check",
    title: "Is it on paper?",
    ...(first ? { focus: first } : {}),
    body: [p("Type these words from your paper."), form(submit, h("div", { class: "asked" }, ...rows), problem, actions(yes, again))],
  };
}

function entry(id: string, testid: string): HTMLInputElement {
  return h("input", {
    id,
    type: "text",
    "data-testid": testid,
    "aria-describedby": "problem",
    autocomplete: "off",
    autocapitalize: "off",
    autocorrect: "off",
    spellcheck: "false",
  });
}

function recover(before: readonly string[], relay: string, ways: Ways): View {
  const problem = h("p", { id: "problem", class: "problem", "data-testid": "problem", role: "alert" });
  const choices = h("datalist", { id: "choices" });
  const fields = Array.from({ length: WORDS }, (_, at) => {
    const field = entry(`word-${at + 1}`, "word");
    field.setAttribute("list", "choices");
    field.value = before[at] ?? "";
    return field;
  });
  const finish = (at: number): boolean => {
    const field = fields[at];
    if (!field || field.value.trim() === "") return true;
    const word = wordOf(field.value);
    if (word !== undefined) {
      field.value = word;
      field.removeAttribute("aria-invalid");
    } else {
      field.setAttribute("aria-invalid", "true");
      problem.textContent = `Word ${at + 1} is not a word that recovery kits are made of.`;
    }
    return word !== undefined;
  };
  /** What is pasted into one field goes to those behind it, too. */
  const spread = (at: number, text: string): void => {
    const words = split(text);
    const from = words.length >= WORDS ? 0 : at;
    const into = fields.slice(from, from + words.length);
    into.forEach((field, n) => {
      field.value = words[n] ?? "";
      calm(field, problem);
    });
    const wrong = into.find((_, n) => !finish(from + n));
    (wrong ?? fields[Math.min(from + words.length, WORDS - 1)])?.focus();
  };
  for (const [at, field] of fields.entries()) {
    field.addEventListener("input", () => {
      calm(field, problem);
      if (/[^\p{L}]/u.test(field.value.trim())) return spread(at, field.value);
      if (/\s$/u.test(field.value)) {
        // A list of words stays on the screen until there is nothing in it.
        choices.replaceChildren();
        if (finish(at)) fields[at + 1]?.focus();
        return;
      }
      choices.replaceChildren(...beginning(field.value).map((value) => h("option", { value })));
    });
    field.addEventListener("paste", (event) => {
      const text = event.clipboardData?.getData("text") ?? "";
      if (split(text).length < 2) return;
      event.preventDefault();
      spread(at, text);
    });
    field.addEventListener("blur", () => void finish(at));
    field.addEventListener("keydown", (event) => {
      // Enter goes on as a person does on paper, and sends at the end. Left to the webview it may do no more than close its list.
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      if (at === WORDS - 1) return submit();
      choices.replaceChildren();
      if (finish(at)) fields[at + 1]?.focus();
    });
  }
  const address = h("input", { id: "relay", type: "text", class: "mono", "data-testid": "relay", autocomplete: "off", spellcheck: "false" });
  address.value = relay;
  const submit = (): void => {
    choices.replaceChildren();
    for (const [at, field] of fields.entries()) {
      if (field.value.trim() === "") return complain(field, problem, `Word ${at + 1} is missing.`, ways.say);
      if (!finish(at)) return complain(field, problem, `Word ${at + 1} is not a word that recovery kits are made of.`, ways.say);
    }
    ways.recover(fields.map((field) => field.value), address.value.trim());
  };
  const list = h("ol", { class: "kit entry" });
  list.append(...fields.map((field, at) => h("li", {}, h("label", { for: field.id, "aria-label": `Word ${at + 1}` }, `${at + 1}.`), field)));
  const yes = h("button", { type: "submit", class: "primary", "data-testid": "recover" }, "Come back");
  return {
    name: "recover",
    title: "Type the 24 words",
    ...(fields[0] ? { focus: fields[0] } : {}),
    body: [
      p("This device takes the place of all others: they are removed. Four letters of a word are enough."),
      form(
        submit,
        list,
        choices,
        problem,
        h("label", { for: "relay" }, "The relay beside the words, if it is not this app's own"),
        address,
        actions(yes, button("cancel", "plain", "Back", () => leave(ways))),
      ),
      freshly(ways),
    ],
  };
}

function fresh(ways: Ways): View {
  const empty = ways.status?.group === null && !ways.status.joining;
  const yes = button("confirm-fresh", "primary", "Start fresh", () => ways.fresh());
  if (!empty) yes.className = "danger";
  return {
    name: "fresh",
    title: "Start fresh?",
    body: [
      p("What the lost devices had does not come to this device. Nobody can bring it back without the words, a backup, or one of those devices."),
      p(empty ? "Nothing is on this device yet, so nothing is deleted." : "What is synced on this device is deleted, and it leaves its group."),
      actions(button("cancel", "plain", "Back", () => leave(ways)), yes),
    ],
  };
}

function back(done: RecoveredGroup, ways: Ways): View {
  const rows = done.snapshots.map(({ channel, at }) => h("li", {}, h("b", {}, channel), ` was kept ${ago(Number(at), Date.now())}`));
  const list = h("ul", { "data-testid": "restored" });
  list.append(...rows);
  const words = rows.length > 0 ? "This is back. What came after it is lost." : "The group is back. No data was kept for the kit: what the devices held is lost, but for a backup.";
  const left = done.leftOut > 0 ? p(`${done.leftOut} more could not be trusted, and were left out.`) : undefined;
  return {
    name: "back",
    title: "You are back",
    said: `You are back. ${words}`,
    mark: mark("good"),
    body: [
      p(words),
      rows.length > 0 ? list : undefined,
      left,
      p("All other devices are removed. Add the ones that you have again."),
      actions(button("done", "primary", "Done", () => ways.close())),
    ],
  };
}

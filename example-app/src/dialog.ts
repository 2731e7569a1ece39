import { button, el, iconButton } from "./dom";
import { failure } from "./failure";

/** A dialog that covers the window. Escape and its cross close it; then it is gone. */
export class Dialog {
  readonly element: HTMLDialogElement;
  /** Whether something runs that closing would not stop: then neither Escape nor the cross closes it. */
  busy = false;
  /** What closes it. */
  readonly cross = iconButton("close", "Close", () => this.busy || this.close(), { "data-testid": "close-dialog" });
  private readonly error = el("div", { class: "error", role: "alert", hidden: true });

  /**
   * With `bare`, what is in it has a heading and a way to close of its own. `back` puts the focus where it belongs when what had it
   * before is gone.
   */
  constructor(
    title: string,
    body: HTMLElement,
    options: { testid?: string; bare?: boolean; closed?: () => void; back?: (() => void) | undefined } = {},
  ) {
    const before = document.activeElement;
    const head = el("div", { class: "dialog-head" }, el("h2", {}, title), this.cross);
    this.element = el(
      "dialog",
      { class: options.bare ? "dialog bare" : "dialog", "aria-label": title, "data-testid": options.testid },
      !options.bare && head,
      this.error,
      body,
    );
    this.element.addEventListener("close", () => {
      this.element.remove();
      options.closed?.();
      // The browser gives it back to what had it, if that is still there and rests no more.
      if (isLost() && before instanceof HTMLElement) before.focus();
      if (isLost()) options.back?.();
    });
    // The app's own Escape goes back to the list; within a dialog it closes the dialog and nothing more.
    this.element.addEventListener("keydown", (event) => {
      event.stopPropagation();
      // A second `cancel` without a click in between cannot be prevented everywhere.
      if (this.busy && event.key === "Escape") event.preventDefault();
    });
    this.element.addEventListener("cancel", (event) => this.busy && event.preventDefault());
    document.body.append(this.element);
    this.element.showModal();
  }

  close(): void {
    this.element.close();
  }

  /** Says what went wrong and what to do. */
  fail(error: unknown): void {
    const { message, nextStep } = failure(error);
    this.error.replaceChildren(el("strong", {}, message), nextStep ? ` ${nextStep}` : "");
    this.error.hidden = false;
  }

  /** Nothing is wrong any more. */
  clearError(): void {
    this.error.hidden = true;
  }
}

/** What {@link ask} asks. */
export interface Question {
  title: string;
  /** What follows from a yes, a paragraph each. */
  text: string[];
  /** The words on the button that does it. */
  yes: string;
  no?: string;
  testid: string;
  /** Does it. While it runs, the dialog stays and its buttons rest; if it fails, the dialog stays and says why. */
  act: () => Promise<void>;
  /** Something else that may be done first, like saving a copy. Gives what to say about it. */
  before?: { label: string; act: () => Promise<string> };
  /** Puts the focus where it belongs afterwards, if what had it before is gone. */
  back?: (() => void) | undefined;
  /** What else may be offered once {@link act} has failed. */
  otherwise?: { label: string; text: string; act: () => Promise<void> };
}

/** Asks before something that cannot be taken back. */
export function ask(question: Question): void {
  const told = el("p", { class: "hint", role: "status" });
  const otherwise = el("div", { class: "otherwise" });
  const buttons: HTMLButtonElement[] = [];
  const run = async (act: () => Promise<void>): Promise<void> => {
    const pressed = document.activeElement;
    dialog.clearError();
    rest(true);
    let failed = false;
    try {
      await act();
    } catch (error) {
      failed = true;
      dialog.fail(error);
      offerOtherwise();
    }
    rest(false);
    if (!failed) dialog.close();
    // A button that rests has lost the focus.
    else if (isLost() && pressed instanceof HTMLElement) pressed.focus();
  };
  const rest = (busy: boolean): void => {
    dialog.busy = busy;
    for (const each of buttons) each.disabled = busy;
  };
  const offerOtherwise = (): void => {
    const { otherwise: other } = question;
    if (!other || otherwise.hasChildNodes()) return;
    const offered = button(other.label, () => void run(other.act), {
      class: "button danger",
      "data-testid": "otherwise",
    });
    buttons.push(offered);
    otherwise.append(el("p", {}, other.text), offered);
  };
  const yes = button(question.yes, () => void run(question.act), {
    class: "button danger",
    "data-testid": question.testid,
  });
  const no = button(question.no ?? "Cancel", () => dialog.close(), { "data-testid": "cancel", autofocus: true });
  buttons.push(no, yes);
  const actions = el("div", { class: "actions" }, no, yes);
  const { before } = question;
  if (before) {
    const save = button(before.label, () => void say(before.act, told), {
      class: "button apart",
      "data-testid": "save-copy",
    });
    actions.prepend(save);
  }
  const body = el(
    "div",
    { class: "dialog-body" },
    ...question.text.map((text) => el("p", {}, text)),
    told,
    actions,
    otherwise,
  );
  const dialog = new Dialog(question.title, body, { back: question.back });
}

/** Whether nothing has the focus. */
function isLost(): boolean {
  const { activeElement } = document;
  return !activeElement || activeElement === document.body || !activeElement.isConnected;
}

/** Does something and says how that went. */
async function say(act: () => Promise<string>, told: HTMLElement): Promise<void> {
  try {
    told.textContent = await act();
  } catch (error) {
    const { message, nextStep } = failure(error);
    told.textContent = `${message} ${nextStep}`;
  }
}

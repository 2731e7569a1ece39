import type { RecoveredGroup, RecoveryKit, SyncStatus } from "../bindings.js";
import { SyncError, toSyncError } from "../errors.js";
import { sync } from "../sync.js";
import { h } from "./dom.js";
import { kitView, type Step } from "./kit-views.js";
import { stylesheet } from "./style.js";
import type { View } from "./views.js";

const Base = globalThis.HTMLElement ?? (class {} as typeof HTMLElement);

/** What `ksync-recovered` tells. */
export type RecoveredDetail = RecoveredGroup;

/**
 * `<ksync-kit>`: makes a recovery kit or replaces it, and comes back by one when every device is lost, or starts fresh.
 *
 * Attributes: `mode` (`make` or `recover`) skips the first question; `name` is what this device calls itself when it comes back;
 * `theme` (`light` or `dark`) overrides the system's.
 *
 * Events, which bubble: `ksync-kit-made` once the person has the words, `ksync-recovered`, a `CustomEvent` with
 * {@link RecoveredDetail}, `ksync-fresh` once this device has started fresh, and `ksync-closed` when the person is done with it.
 * The words are in none of them, and are forgotten when the element leaves the page.
 *
 * All of it takes the permission `0ksync:admin`. Custom properties are those of `<ksync-pair>`.
 */
export class KsyncKit extends Base {
  static readonly observedAttributes = ["mode"];
  readonly #card = h("div", { class: "card kits", part: "card" });
  readonly #live = h("div", { class: "hidden", role: "status", "aria-live": "polite", "data-testid": "live" });
  #running = false;
  #round = 0;
  #step: Step = { at: "start" };
  #status: SyncStatus | undefined;
  #focus: HTMLElement | undefined;

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [stylesheet()];
    shadow.append(this.#card, this.#live);
    this.#card.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Called by the browser when the element comes into a page. */
  connectedCallback(): void {
    if (this.#running) return;
    this.#running = true;
    this.#begin();
  }

  /** Called by the browser when the element leaves the page. */
  disconnectedCallback(): void {
    queueMicrotask(() => {
      if (this.isConnected || !this.#running) return;
      this.#running = false;
      this.#round += 1;
      this.#step = { at: "start" };
      this.#card.replaceChildren();
    });
  }

  /** Called by the browser when `mode` changes: the dialogue begins anew. */
  attributeChangedCallback(_name: string, before: string | null, now: string | null): void {
    if (this.#running && before !== now) this.#begin();
  }

  /** Moves the focus to the first field of the present screen, or to its heading. */
  override focus(options?: FocusOptions): void {
    this.#focus?.focus(options);
  }

  #begin(): void {
    const mode = this.getAttribute("mode");
    this.#status = undefined;
    this.#go(mode === "make" || mode === "recover" ? { at: mode } : { at: "start" });
    const round = this.#round;
    sync.status().then(
      (status) => {
        if (round !== this.#round) return;
        this.#status = status;
        // What it says of the kit that is there now.
        if (this.#step.at === "make") this.#go(this.#step);
      },
      () => {
        // Each step says itself what keeps it from its end.
      },
    );
  }

  #go(step: Step): void {
    const at = this.shadowRoot?.activeElement;
    const inside = at !== null || this.#step.at !== step.at;
    // A webview leaves a field's list of words on the screen where the field goes with the keyboard in it.
    if (at instanceof HTMLElement) at.blur();
    const first = this.#card.childElementCount === 0;
    this.#round += this.#step.at === step.at ? 0 : 1;
    this.#step = step;
    const shown: View = kitView(step, {
      status: this.#status,
      say: (text) => (this.#live.textContent = text),
      go: (next) => this.#go(next),
      make: () => void this.#make(),
      written: () => {
        this.#dispatch("ksync-kit-made");
        this.#go({ at: "made" });
      },
      recover: (words, relay) => void this.#recover(words, relay),
      fresh: () => void this.#fresh(),
      back: () => this.#back(),
      close: () => this.#close(),
    });
    const title = h("h2", { id: "title", tabindex: "-1", "data-testid": "title" }, shown.title);
    this.#card.dataset["screen"] = shown.name;
    // Replaced as a whole, so that no word of the screen before stays.
    this.#card.replaceChildren(h("section", { "aria-labelledby": "title" }, shown.mark, title, ...shown.body));
    this.#focus = shown.focus ?? title;
    if (inside && !first) this.#focus.focus();
    this.#live.textContent = shown.said ?? shown.title;
  }

  async #make(): Promise<void> {
    this.#go({ at: "waiting", what: "Making the kit", next: "Your devices agree on it. This takes a moment." });
    await this.#try({ at: "make" }, () => sync.recoveryKit.create(), (kit: RecoveryKit) => {
      this.#go({ at: "words", kit: { words: kit.words.split(" "), relay: kit.relay } });
    });
  }

  async #recover(words: string[], relay: string): Promise<void> {
    this.#go({ at: "waiting", what: "Coming back", next: "The relay is asked for your group. This takes a moment." });
    const name = this.getAttribute("name");
    const options = { ...(relay === "" ? {} : { relay }), ...(name === null ? {} : { name }) };
    // What was typed stays, so that one wrong word is not all of them again.
    await this.#try({ at: "recover", words, relay }, () => sync.recover(words.join(" "), options), (back: RecoveredGroup) => {
      this.#dispatch("ksync-recovered", back);
      this.#go({ at: "back", back });
    });
  }

  async #fresh(): Promise<void> {
    const empty = this.#status?.group === null && !this.#status.joining;
    this.#go({ at: "waiting", what: "Starting fresh", next: "This takes a moment." });
    await this.#try({ at: "fresh" }, async () => (empty ? undefined : sync.reset()), () => {
      this.#dispatch("ksync-fresh");
      this.#close();
    });
  }

  /** Does something, and shows what comes of it, unless the person has gone elsewhere meanwhile. */
  async #try<T>(again: Step, work: () => Promise<T>, done: (value: T) => void): Promise<void> {
    const round = this.#round;
    try {
      const value = await work();
      if (this.#running && round === this.#round) done(value);
    } catch (error) {
      const failed = error instanceof SyncError ? error : toSyncError(error, "kit");
      if (this.#running && round === this.#round) this.#go({ at: "error", error: failed, again });
    }
  }

  #back(): boolean {
    const { at } = this.#step;
    if (at === "check") {
      this.#go({ at: "words", kit: this.#step.kit });
      return true;
    }
    // The words are shown this once: nobody leaves them by a key pressed in haste.
    if (at === "words" || at === "waiting") return true;
    const mode = this.getAttribute("mode");
    const first = at === "start" || at === "made" || at === "back" || (mode === at && at !== "error");
    if (first) return false;
    this.#go(this.#step.at === "error" ? this.#step.again : mode === "recover" && at === "fresh" ? { at: "recover" } : { at: "start" });
    return true;
  }

  #close(): void {
    this.#go({ at: "start" });
    this.#dispatch("ksync-closed");
  }

  #key(event: KeyboardEvent): void {
    if (event.key !== "Escape" || event.isComposing || event.defaultPrevented) return;
    if (this.#back()) {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  #dispatch(type: string, detail?: RecoveredDetail): void {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }
}

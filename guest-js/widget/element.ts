import { h } from "./dom.js";
import { Flow, type Mode, type PairedDetail, type Screen } from "./flow.js";
import { stylesheet } from "./style.js";
import { type View, view } from "./views.js";

export type { PairedDetail } from "./flow.js";

/** Where there are no elements, as in a server that renders pages ahead, the module can still be imported. */
const Base = globalThis.HTMLElement ?? (class {} as typeof HTMLElement);

/**
 * `<ksync-pair>`: pairs two devices in one dialogue.
 *
 * Attributes: `mode` (`add` or `join`) skips the first question; `name` is what this device calls itself when it joins;
 * `theme` (`light` or `dark`) overrides the system's; `autofocus` takes the focus at the beginning.
 *
 * Events, which bubble: `ksync-paired`, a `CustomEvent` with {@link PairedDetail}, and `ksync-closed` when the person is done
 * with it. Taking the element out of the page gives up a pairing that is not agreed on yet.
 *
 * Custom properties: `--ksync-accent`, `--ksync-on-accent`, `--ksync-surface`, `--ksync-raised`, `--ksync-text`,
 * `--ksync-muted`, `--ksync-line`, `--ksync-hair`, `--ksync-bad`, `--ksync-good`, `--ksync-radius`, `--ksync-font`.
 */
export class KsyncPair extends Base {
  static readonly observedAttributes = ["mode"];
  readonly #card = h("div", { class: "card" });
  readonly #live = h("div", { class: "hidden", role: "status", "aria-live": "polite", "data-testid": "live" });
  readonly #flow: Flow;
  readonly #shadow: ShadowRoot;
  #running = false;
  #focus: HTMLElement | undefined;
  #ticking: ReturnType<typeof setInterval> | undefined;

  constructor() {
    super();
    this.#shadow = this.attachShadow({ mode: "open" });
    this.#shadow.adoptedStyleSheets = [stylesheet()];
    this.#shadow.append(this.#card, this.#live);
    this.#card.addEventListener("keydown", (event) => this.#key(event));
    const element = this;
    this.#flow = new Flow({
      get deviceName() {
        return element.getAttribute("name") ?? undefined;
      },
      show: (screen) => this.#show(screen),
      paired: (detail) => this.#dispatch("ksync-paired", detail),
      closed: () => this.#dispatch("ksync-closed", undefined),
    });
  }

  /** Called by the browser when the element comes into a page. */
  connectedCallback(): void {
    // One that is only moved to another place goes on.
    if (this.#running) return;
    this.#running = true;
    this.#flow.begin(this.#mode);
    if (this.hasAttribute("autofocus")) this.focus();
  }

  /** Called by the browser when the element leaves the page. */
  disconnectedCallback(): void {
    queueMicrotask(() => {
      if (this.isConnected || !this.#running) return;
      this.#running = false;
      clearInterval(this.#ticking);
      this.#flow.stop();
    });
  }

  /** Called by the browser when `mode` changes: the dialogue begins anew. */
  attributeChangedCallback(_name: string, before: string | null, now: string | null): void {
    if (this.#running && before !== now) this.#flow.begin(this.#mode);
  }

  /** Moves the focus to the first field of the present screen, or to its heading. */
  override focus(options?: FocusOptions): void {
    this.#focus?.focus(options);
  }

  get #mode(): Mode | undefined {
    const mode = this.getAttribute("mode");
    return mode === "add" || mode === "join" ? mode : undefined;
  }

  #leave(): boolean {
    // Where the app has chosen the side, there is no question to go back to.
    return this.#flow.back(this.#mode);
  }

  #show(screen: Screen): void {
    if (!this.#running) return;
    clearInterval(this.#ticking);
    const say = (text: string) => {
      this.#live.textContent = text;
    };
    const next = view(screen, this.#flow, say, () => void this.#leave());
    const mayFocus = this.#mayFocus();
    const title = this.#render(next);
    this.#focus = next.focus ?? title;
    if (mayFocus) this.#focus.focus();
    say(next.said ?? next.title);
    if (next.tick) {
      this.#ticking = setInterval(next.tick, 1_000);
      next.tick();
    }
  }

  #render({ name, title, mark, body, wide }: View): HTMLElement {
    const heading = h("h2", { id: "title", tabindex: "-1", "data-testid": "title" }, title);
    if (name === "error") heading.dataset["testid"] = "error";
    // Replaced as a whole, so that nothing of the screen before stays.
    const section = h("section", { "aria-labelledby": "title" }, mark, heading, ...body);
    this.#card.className = wide ? "card wide" : "card";
    this.#card.dataset["screen"] = name;
    this.#card.replaceChildren(section);
    return heading;
  }

  /** Whether the focus is here, or nowhere. It is not taken away from where the person types. */
  #mayFocus(): boolean {
    if (this.#card.dataset["screen"] === undefined) return false;
    const root = this.getRootNode() as Document | ShadowRoot;
    // Within another component, what has the focus outside of that one is known to the page only.
    const active = root.activeElement ?? document.activeElement;
    return active === null || active === this || active === document.body;
  }

  #key(event: KeyboardEvent): void {
    if (event.key !== "Escape" || event.isComposing || event.defaultPrevented) return;
    // Going back is for us; closing is for whatever the element stands in as well.
    if (this.#leave()) {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  #dispatch(type: string, detail: PairedDetail | undefined): void {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }
}

import type { Device, DeviceExit, Member, SyncAlert, SyncStatus } from "../bindings.js";
import { SyncError, toSyncError } from "../errors.js";
import { sync } from "../sync.js";
import { consequences, failed, removed } from "./devices-words.js";
import { alertBox, deviceList } from "./devices-views.js";
import { button, h } from "./dom.js";
import { stylesheet } from "./style.js";
import type { Words } from "./words.js";

const Base = globalThis.HTMLElement ?? (class {} as typeof HTMLElement);

/** What the person sees under the alerts. */
type Screen =
  | { at: "list" }
  | { at: "ask"; member: Member; lost: boolean }
  | { at: "waiting"; member: Member; lost: boolean }
  | { at: "removed"; words: Words }
  | { at: "failed"; member: Member; lost: boolean; words: Words };

/**
 * `<ksync-devices>`: the devices of the group with when each was last heard of, what happened to them while nobody looked, and
 * the way to remove one, also one that is lost.
 *
 * Attributes: `here`, the ids of devices that the app knows to be there now, with spaces between; `theme` (`light` or `dark`)
 * overrides the system's; `quiet` leaves the alerts out, for an app that shows them elsewhere.
 *
 * Removing takes the permission `0ksync:admin`, all else `0ksync:default`. Custom properties are those of `<ksync-pair>`, and
 * `--ksync-on-bad`; `::part(card)` is all of it, for an app that has an edge around it already.
 */
export class KsyncDevices extends Base {
  static readonly observedAttributes = ["here", "quiet"];
  readonly #alerts = h("div", { class: "region" });
  readonly #body = h("div", { class: "region" });
  readonly #live = h("div", { class: "hidden", role: "status", "aria-live": "polite", "data-testid": "live" });
  readonly #card = h("div", { class: "card list", part: "card" }, this.#alerts, this.#body);
  #stops: (() => void)[] = [];
  #running = false;
  #status: SyncStatus | undefined;
  #known: SyncAlert[] = [];
  #trouble: Words | undefined;
  #screen: Screen = { at: "list" };
  #shown = "";
  #shownAlerts = "";

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
    this.#draw();
    this.#listen().catch((error: unknown) => {
      const { details, message } = toSyncError(error, "listen");
      this.#trouble = { what: "This list cannot be read", next: details?.nextStep ?? message };
      this.#draw();
    });
  }

  /** Called by the browser when the element leaves the page. */
  disconnectedCallback(): void {
    queueMicrotask(() => {
      if (this.isConnected || !this.#running) return;
      this.#running = false;
      for (const stop of this.#stops.splice(0)) stop();
      this.#screen = { at: "list" };
    });
  }

  /** Called by the browser when an attribute changes. */
  attributeChangedCallback(): void {
    if (this.#running) this.#draw();
  }

  /** Moves the focus to the heading. */
  override focus(options?: FocusOptions): void {
    this.#body.querySelector<HTMLElement>("h2")?.focus(options);
  }

  async #listen(): Promise<void> {
    const keep = async (off: Promise<() => void>): Promise<void> => {
      const stop = await off;
      if (this.#running) this.#stops.push(stop);
      else stop();
    };
    await keep(sync.on("device", (event) => this.#changed(event.change, event.device, event.exit)));
    await keep(sync.on("changeFailed", ({ device, code }) => this.#failed(device, code)));
    for (const type of ["alert", "alertsSeen", "left", "reset"] as const) await keep(sync.on(type, () => void this.#read()));
    await keep(sync.on("status", (status) => this.#know(status)));
    await this.#read();
  }

  async #read(): Promise<void> {
    this.#known = await sync.alerts().catch((error: unknown) => {
      // A window that may not read them shows the list all the same.
      if (error instanceof SyncError && error.code === "NOT_PERMITTED") return [];
      throw error;
    });
    this.#draw();
  }

  #know(status: SyncStatus): void {
    this.#status = status;
    this.#draw();
  }

  #changed(change: string, device: Device, exit: DeviceExit | null): void {
    const screen = this.#screen;
    if (change !== "removed" || !("member" in screen) || screen.member.id !== device.id) return;
    const { member, lost } = screen;
    this.#go({ at: "removed", words: removed(member, lost, exit, member.lastSeen, Date.now()) });
  }

  #failed(device: Device, code: string): void {
    const screen = this.#screen;
    if (screen.at !== "waiting" || screen.member.id !== device.id) return;
    this.#go({ ...screen, at: "failed", words: failed(new SyncError(code, ""), device) });
  }

  async #remove(member: Member, lost: boolean): Promise<void> {
    this.#go({ at: "waiting", member, lost });
    try {
      await sync.removeDevice(member.id, { lost });
    } catch (error) {
      const { at } = this.#screen;
      if (at === "waiting") this.#go({ at: "failed", member, lost, words: failed(error, member) });
    }
  }

  async #dismiss(newest: string): Promise<void> {
    this.#known = this.#known.map((alert) => ({ ...alert, seen: true }));
    this.#draw();
    this.focus();
    await sync.alertsSeen(newest).catch(() => {
      // They are gone from this screen, and come again at the next start.
    });
  }

  #go(screen: Screen): void {
    const before = this.#screen;
    this.#screen = screen;
    const had = this.shadowRoot?.activeElement !== null;
    this.#draw();
    if (!had) return;
    const back = screen.at === "list" && "member" in before && this.#body.querySelector<HTMLElement>(`[data-id="${before.member.id}"] button`);
    (back || this.#body.querySelector<HTMLElement>("h2"))?.focus();
  }

  #draw(): void {
    if (!this.#running) return;
    this.#drawAlerts();
    const key = JSON.stringify([this.#screen, this.#status, this.#trouble, this.getAttribute("here"), this.#known, minute()]);
    if (key === this.#shown) return;
    this.#shown = key;
    const active = this.shadowRoot?.activeElement as HTMLElement | null;
    const kept = active && this.#body.contains(active) ? [active.dataset["testid"], idOf(active)] : undefined;
    this.#body.replaceChildren(this.#section());
    if (!kept) return;
    // What is drawn anew keeps the keyboard where it was.
    const same = [...this.#body.querySelectorAll<HTMLElement>(`[data-testid="${kept[0]}"]`)].find((found) => idOf(found) === kept[1]);
    (same ?? this.#body.querySelector<HTMLElement>("h2"))?.focus();
  }

  #drawAlerts(): void {
    const news = this.hasAttribute("quiet") ? [] : this.#known.filter((alert) => !alert.seen);
    const key = JSON.stringify([news, minute()]);
    if (key === this.#shownAlerts) return;
    this.#shownAlerts = key;
    const newest = news[0];
    this.#alerts.replaceChildren(...(newest ? [alertBox(news, Date.now(), () => void this.#dismiss(newest.number))] : []));
  }

  #section(): HTMLElement {
    const screen = this.#screen;
    switch (screen.at) {
      case "list":
        return this.#list();
      case "ask":
        return this.#ask(screen.member, screen.lost);
      case "waiting":
        return this.#waiting();
      case "removed":
        return this.#told("removed", screen.words, button("done", "primary", "Done", () => this.#go({ at: "list" })));
      case "failed": {
        const { member, lost, words } = screen;
        const again = button("again", "primary", "Try again", () => void this.#remove(member, lost));
        const close = button("close", "plain", "Close", () => this.#go({ at: "list" }));
        return this.#told("failed", words, again, close);
      }
    }
  }

  #list(): HTMLElement {
    const here = new Set((this.getAttribute("here") ?? "").split(/\s+/));
    const ask = (member: Member, lost: boolean): void => this.#go({ at: "ask", member, lost });
    const list = deviceList(this.#status, this.#known, here, Date.now(), ask);
    const trouble = this.#trouble && h("p", { class: "bad", role: "alert" }, `${this.#trouble.what}. ${this.#trouble.next}`);
    return section("list", "Your devices", trouble, ...list);
  }

  #ask(member: Member, lost: boolean): HTMLElement {
    const name = member.name === null ? "this device" : `«${member.name}»`;
    const yes = button("confirm", "primary", lost ? "Remove it as lost" : "Remove it", () => void this.#remove(member, lost));
    yes.className = "danger";
    const no = button("cancel", "plain", "Keep it", () => this.#go({ at: "list" }));
    const title = lost ? `Is ${name} lost or stolen?` : `Remove ${name}?`;
    const texts = consequences(lost).map((text) => h("p", {}, text));
    return section("ask", title, ...texts, h("div", { class: "actions" }, no, yes));
  }

  #waiting(): HTMLElement {
    const words: Words = this.#status?.connected
      ? { what: "Removing it", next: "This takes a moment." }
      : {
          what: "Waiting for the relay",
          next: "It is removed as soon as this device is connected again. You can close this: it goes on by itself.",
        };
    return this.#told("waiting", words, button("close", "plain", "Close", () => this.#go({ at: "list" })));
  }

  #told(at: string, { what, next }: Words, ...buttons: HTMLElement[]): HTMLElement {
    this.#live.textContent = `${what}. ${next}`;
    return section(at, what, h("p", {}, next), h("div", { class: "actions" }, ...buttons));
  }

  #key(event: KeyboardEvent): void {
    if (event.key !== "Escape" || event.isComposing || this.#screen.at === "list") return;
    event.preventDefault();
    event.stopPropagation();
    this.#go({ at: "list" });
  }
}

/** What says how long ago something was changes with it. */
function minute(): number {
  return Math.floor(Date.now() / 60_000);
}

function idOf(element: HTMLElement): string | undefined {
  return element.closest<HTMLElement>("[data-id]")?.dataset["id"];
}

function section(name: string, title: string, ...children: (HTMLElement | undefined)[]): HTMLElement {
  const heading = h("h2", { id: "title", tabindex: "-1", "data-testid": "title" }, title);
  return h("section", { "aria-labelledby": "title", "data-screen": name }, heading, ...children);
}

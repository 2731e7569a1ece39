import type { SyncAlert } from "tauri-plugin-0ksync-api";

import { button, el, iconButton } from "./dom";
import { deviceName, type Out } from "./words";

/** Something that a message offers to do. */
export interface Offer {
  label: string;
  act: () => void;
  testid?: string;
}

/** What the strip above the notes says. */
export interface Message {
  tone: "info" | "trouble";
  text: string;
  detail?: string;
  offers?: Offer[];
  /** Whether a person may put it away. */
  closable?: boolean;
  /** What else happens when a person does. */
  closed?: () => void;
}

/** What a device that was removed from its group says, with the ways on. */
export function removal(why: Out, by: string | null, save: () => void, anew: () => void): Message {
  const removed = by === null ? "This device was removed from its group." : `${deviceName(by)} removed this device from its group.`;
  return {
    tone: "trouble",
    text: why === "removed" ? removed : "A copy of this device's data runs elsewhere and has taken its place.",
    detail:
      why === "removed"
        ? "The notes stay readable here, but nothing comes or goes any more."
        : "Nothing comes or goes here any more. If you know of no copy, remove the other one from another device.",
    offers: [
      { label: "Save a copy", act: save, testid: "save-copy-banner" },
      { label: "Start anew…", act: anew, testid: "reset" },
    ],
  };
}

/** What happened to the devices while nobody looked: the newest in words, the others counted. Nothing, if there is nothing new. */
export function news(alerts: readonly SyncAlert[], devices: () => void, seen: (upTo: string) => void): Message | undefined {
  const [newest] = alerts;
  if (!newest) return undefined;
  // What is wrong goes before what has changed.
  const first = alerts.find((alert) => alert.warning) ?? newest;
  const more = alerts.length > 1 ? ` There ${alerts.length === 2 ? "is 1 more message" : `are ${alerts.length - 1} more messages`} about your devices.` : "";
  return {
    tone: first.warning ? "trouble" : "info",
    text: first.text,
    detail: `${told(Number(first.at), Date.now())}${first.nextStep && ` ${first.nextStep}`}${more}`,
    offers: [{ label: "Devices", act: devices, testid: "see-devices" }],
    closable: true,
    closed: () => seen(newest.number),
  };
}

/** When this device heard of it; nothing, if that is just now. */
function told(at: number, now: number): string {
  if (now - at < 60_000) return "";
  const day = { weekday: "short", day: "numeric", month: "short", hour: "numeric", minute: "2-digit" } as const;
  return `Heard of here on ${new Intl.DateTimeFormat(undefined, day).format(at)}.`;
}

/** The strip above the notes. Says one thing at a time, the gravest, and each until it is over. */
export class Banner {
  readonly element = el("div", { class: "banners", role: "status", "aria-live": "polite" });
  private readonly messages = new Map<string, Message>();
  private said = "";

  /** Sets or, without a message, ends what is said about a subject. */
  set(subject: string, message?: Message): void {
    if (message) this.messages.set(subject, message);
    else if (!this.messages.delete(subject)) return;
    this.render();
  }

  private dismiss(subject: string): void {
    const closed = this.messages.get(subject)?.closed;
    this.set(subject);
    closed?.();
  }

  private render(): void {
    const all = [...this.messages];
    const shown = all.find(([, { tone }]) => tone === "trouble") ?? all[0];
    // What is said again at each keystroke takes the focus from nobody.
    const said = JSON.stringify(shown ?? "");
    if (said === this.said) return;
    this.said = said;
    if (!shown) return this.element.replaceChildren();
    const [subject, { tone, text, detail, offers, closable }] = shown;
    this.element.replaceChildren(
      el(
        "div",
        { class: "banner", "data-tone": tone, "data-testid": "banner" },
        el("div", { class: "banner-text" }, el("strong", {}, text), detail ? ` ${detail}` : ""),
        el(
          "div",
          { class: "banner-offers" },
          ...(offers ?? []).map(({ label, testid }, n) =>
            button(label, () => this.messages.get(subject)?.offers?.[n]?.act(), {
              class: "button small",
              "data-testid": testid,
            }),
          ),
          closable && iconButton("close", "Dismiss", () => this.dismiss(subject), { "data-testid": "dismiss" }),
        ),
      ),
    );
  }
}

/** How long a passing message with something to undo stays. */
const STAY_MS = 10_000;

/** Short messages that go by themselves. */
export class Toasts {
  readonly element = el("div", { class: "toasts", role: "status", "aria-live": "polite" });

  show(text: string, offer?: Offer): void {
    const gone = (): void => toast.remove();
    const toast = el(
      "div",
      { class: "toast", "data-testid": "toast" },
      el("span", {}, text),
      offer &&
        button(
          offer.label,
          () => {
            gone();
            offer.act();
          },
          { class: "button small", "data-testid": offer.testid },
        ),
    );
    // One at a time: the newer message is the one that matters.
    this.element.replaceChildren(toast);
    window.setTimeout(gone, STAY_MS);
  }
}

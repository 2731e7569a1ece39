import type { Member, SyncAlert, SyncStatus } from "../bindings.js";
import { ago, called, lastSeen, lostDevices } from "./devices-words.js";
import { button, h } from "./dom.js";

/** How many alerts are shown at once; the others are counted. */
const SHOWN = 5;

/** What happened while nobody looked, with a button that says that it was read. */
export function alertBox(news: readonly SyncAlert[], now: number, dismiss: () => void): HTMLElement {
  const grave = news.some((alert) => alert.warning);
  const rows = news.slice(0, SHOWN).map(({ text, nextStep, at, kind }) =>
    h(
      "li",
      { "data-testid": "alert", "data-kind": kind },
      h("p", {}, text),
      h("p", {}, `${capital(ago(Number(at), now))}.${nextStep === "" ? "" : ` ${nextStep}`}`),
    ),
  );
  const more = news.length > SHOWN ? h("p", {}, `And ${news.length - SHOWN} more.`) : undefined;
  return h(
    "div",
    // A warning breaks into what is being read out; that a device came can wait.
    { class: "alerts", role: grave ? "alert" : "status", "data-tone": grave ? "bad" : "news", "data-testid": "alerts" },
    h("h2", {}, "What happened"),
    h("ul", {}, ...rows),
    more,
    button("dismiss", "plain", "Got it", dismiss),
  );
}

/** The devices, and those that were lost. */
export function deviceList(
  status: SyncStatus | undefined,
  alerts: readonly SyncAlert[],
  here: ReadonlySet<string>,
  now: number,
  ask: (member: Member, lost: boolean) => void,
): (HTMLElement | undefined)[] {
  if (!status) return [h("p", {}, "Looking how things stand…")];
  const out = status.trouble?.code === "REMOVED" || status.trouble?.code === "CLONED";
  const alone: Member = { id: status.device ?? "", name: status.name, own: true, lastSeen: null };
  const members = status.devices.length > 0 ? status.devices : [alone];
  const rows = members.map((member) => row(member, here.has(member.id), now, out ? undefined : ask));
  const lost = lostDevices(alerts).map((alert) => lostRow(alert, now));
  return [
    h("ul", { class: "devices", "aria-label": "Devices of this group" }, ...rows),
    lost.length === 0
      ? undefined
      : h("div", { class: "gone" }, h("h3", { id: "gone" }, "Lost devices"), h("ul", { class: "devices", "aria-labelledby": "gone" }, ...lost)),
  ];
}

function row(member: Member, here: boolean, now: number, ask?: (member: Member, lost: boolean) => void): HTMLElement {
  const seen = here ? undefined : lastSeen(member.lastSeen, now);
  const words = member.own ? "this device" : here ? "here now" : seen?.text;
  const about = words === undefined ? undefined : h("span", { class: seen?.silent ? "bad" : undefined }, words);
  const name = member.name ?? "A device without a name";
  const way = (testid: string, label: string, lost: boolean): HTMLElement => {
    const element = button(testid, "plain", label, () => ask?.(member, lost));
    element.classList.add("small");
    element.setAttribute("aria-label", `${label} ${called(member)}`);
    return element;
  };
  const ways = h("div", { class: "ways" }, way("remove", "Remove…", false), way("lost", "I lost it…", true));
  const attributes = { "data-testid": "device", "data-id": member.id, "data-own": String(member.own), "data-here": String(here) };
  return h("li", attributes, h("div", {}, h("b", {}, name), about), member.own || !ask ? undefined : ways);
}

/** The members never hear that it has connected: it is none of them any more. */
function lostRow({ device, at, since }: SyncAlert, now: number): HTMLElement {
  const name = device?.name ?? "A device without a name";
  const heard = since === null ? "" : `, last heard of ${ago(Number(since), now)}`;
  const words = `removed ${ago(Number(at), now)}${heard}; it deletes what it holds when it next connects`;
  return h("li", { "data-testid": "lost-device" }, h("div", {}, h("b", {}, name), h("span", {}, words)));
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

import "tauri-plugin-0ksync-api/widget";

import { sync, type SyncStatus } from "tauri-plugin-0ksync-api";

import { ask, Dialog } from "./dialog";
import { button, el } from "./dom";
import type { Person } from "./people";
import { out, type Out } from "./words";

/** What the devices page shows. */
export interface DevicesState {
  status: SyncStatus | undefined;
  people: Person[];
}

/** The devices, with pairing, removal and leaving, in a dialog. */
export class Devices {
  /** The package's element, which knows who is in the group; who is here now, the app knows. */
  private readonly list = el("ksync-devices" as "div", { class: "widget members", quiet: true });
  private readonly intro = el("p", { class: "hint" });
  private readonly actions = el("div", { class: "actions start" });
  private readonly foot = el("div", { class: "leave" });
  private readonly dialog: Dialog;
  private shown = "";

  constructor(
    private readonly state: () => DevicesState,
    private readonly save: () => Promise<string>,
    closed: () => void,
  ) {
    const body = el("div", { class: "dialog-body" }, this.intro, this.list, this.actions, this.foot);
    this.dialog = new Dialog("Devices", body, { testid: "devices", closed });
    this.render();
  }

  /** Shows how things are now. What did not change stays, with its focus. */
  render(): void {
    const { status, people } = this.state();
    this.list.setAttribute("here", people.map((person) => person.device).join(" "));
    const ended = out(status);
    const key = JSON.stringify([status?.devices.length, status?.name, status?.joining, status?.group === null, ended]);
    if (key === this.shown) return;
    this.shown = key;
    this.intro.textContent = introduction(status, ended);
    this.actions.replaceChildren(...this.ways(status, ended));
    this.foot.replaceChildren(...this.exits(status, ended));
  }

  private ways(status: SyncStatus | undefined, ended: Out | undefined): HTMLElement[] {
    if (!status || ended || status.joining) return [];
    const add = button("Add a device", () => this.pair("add"), {
      class: "button primary",
      "data-testid": "add-device",
    });
    const join = button("Join a device", () => this.pair("join"), { "data-testid": "join-device" });
    const kit = button("Recovery kit…", () => this.kit(), { "data-testid": "recovery-kit" });
    return status.devices.length > 1 ? [add, kit] : [add, join, kit];
  }

  private exits(status: SyncStatus | undefined, ended: Out | undefined): HTMLElement[] {
    if (!status) return [];
    if (ended) return [button("Start anew…", () => startAnew(this.save), { "data-testid": "start-anew" })];
    if (status.joining) return [button("Give up joining", () => this.giveUp(), { "data-testid": "give-up" })];
    if (status.devices.length < 2) return [];
    return [
      button("Leave this group…", () => this.leave(), { class: "button link danger-text", "data-testid": "leave" }),
    ];
  }

  private pair(mode: "add" | "join"): void {
    const { status } = this.state();
    const widget = el("ksync-pair" as "div", { class: "widget", mode, name: status?.name, "data-testid": "pair" });
    const dialog = new Dialog(mode === "add" ? "Add a device" : "Join a device", widget, {
      testid: "pair-dialog",
      bare: true,
    });
    widget.addEventListener("ksync-closed", () => dialog.close());
    widget.focus();
  }

  /** A kit for the day when all devices are lost, or back by one; the group says which of them there is a use for. */
  private kit(): void {
    const { status } = this.state();
    const alone = (status?.devices.length ?? 0) < 2 && status?.recoveryKit !== true;
    const mode = alone ? undefined : "make";
    const widget = el("ksync-kit" as "div", { class: "widget", mode, name: status?.name, "data-testid": "kit" });
    const dialog = new Dialog("Recovery kit", widget, { testid: "kit-dialog", bare: true });
    widget.addEventListener("ksync-closed", () => dialog.close());
    widget.focus();
  }

  private leave(): void {
    ask({
      title: "Leave this group?",
      text: [
        "This device forgets the group, and the notes on it are deleted here. They stay on the other devices.",
        "Changes that the other devices have not fetched yet may be lost.",
      ],
      yes: "Leave and delete here",
      no: "Stay",
      testid: "confirm-leave",
      before: { label: "Save a copy", act: this.save },
      act: async () => {
        await sync.leave();
        this.dialog.close();
      },
      otherwise: {
        label: "Delete here without telling them",
        text: "Or leave without a word: the others keep listing this device until one of them removes it.",
        act: async () => {
          await sync.reset();
          this.dialog.close();
        },
      },
    });
  }

  private giveUp(): void {
    this.dialog.clearError();
    sync.leave().catch((error: unknown) => this.dialog.fail(error));
  }
}

function introduction(status: SyncStatus | undefined, ended: Out | undefined): string {
  if (ended === "cloned")
    return "A copy of this device's data has taken its place in the group. Nothing comes or goes here any more.";
  if (ended === "removed") return "This device was removed from its group. It gets no more changes and can send none.";
  if (status?.joining)
    return "The pairing was agreed on. This device waits until the other one has added it; keep both connected.";
  if (!status || status.devices.length < 2) {
    return "The notes are only here. Add a device to have them there too, or join one that has notes: yours come along.";
  }
  return "These devices share the notes, encrypted from end to end. To join another group, leave this one first.";
}

/** Asks whether to delete this device, after it was removed from its group. */
export function startAnew(save: () => Promise<string>): void {
  ask({
    title: "Start anew?",
    text: ["The notes on this device are deleted, and it begins without a group. Then it can be paired again."],
    yes: "Delete and start anew",
    testid: "confirm-reset",
    before: { label: "Save a copy", act: save },
    act: () => sync.reset(),
  });
}

/** The element on a page, and the Rust side behind it. */
import { beforeEach } from "vitest";

import "../widget.js";
import type { KsyncPair } from "../widget.js";
import { plugin, settle } from "./plugin.js";

export const rust = plugin();
const SVG =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 33 33"><rect width="33" height="33" fill="#fff"/><path d="M4 4h7v1h-7z" fill="#000"/></svg>';
export const uri = (ttl = 600_000) => ({ type: "uri", uri: "KSYNC:ABC", code: "7-ability-able-about", svg: SVG, expiresAt: String(Date.now() + ttl) });
export const REQUEST = { type: "request", name: "Pixel <b>9", needsCheck: true };
export const ADDED = { type: "added", device: { id: "p", name: "Pixel 9" } };

beforeEach(() => {
  for (const command of ["invite", "join", "request_join"]) rust.on(command, () => 11);
});

export const step = async (command: string, event: unknown) => {
  rust.sender(command, "steps").send(event);
  await settle();
};

export class Widget {
  readonly element: KsyncPair;
  readonly paired: unknown[] = [];
  closed = 0;

  constructor(attributes: Record<string, string> = {}) {
    this.element = document.createElement("ksync-pair");
    for (const [name, value] of Object.entries(attributes)) this.element.setAttribute(name, value);
    document.body.addEventListener("ksync-paired", (event) => {
      if (event.target === this.element) this.paired.push((event as CustomEvent).detail);
    });
    this.element.addEventListener("ksync-closed", () => (this.closed += 1));
    document.body.append(this.element);
  }

  get root(): ShadowRoot {
    if (!this.element.shadowRoot) throw new Error("the widget has no shadow");
    return this.element.shadowRoot;
  }

  get screen(): string | undefined {
    return this.root.querySelector<HTMLElement>("[data-screen]")?.dataset["screen"];
  }

  has(id: string): boolean {
    return this.root.querySelector(`[data-testid="${id}"]`) !== null;
  }

  get<T extends HTMLElement = HTMLElement>(id: string): T {
    const found = this.root.querySelector<T>(`[data-testid="${id}"]`);
    if (!found) throw new Error(`no ${id} on the screen ${this.screen}`);
    return found;
  }

  text(id: string): string {
    return this.get(id).textContent ?? "";
  }

  async click(id: string): Promise<void> {
    this.get(id).click();
    await settle();
  }

  async type(id: string, text: string): Promise<void> {
    const field = this.get<HTMLInputElement>(id);
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    await settle();
  }

  async submit(): Promise<void> {
    this.root.querySelector("form")?.dispatchEvent(new Event("submit", { bubbles: true, cancelable: true }));
    await settle();
  }

  async key(key: string): Promise<KeyboardEvent> {
    const at = this.root.activeElement ?? this.get("title");
    const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, composed: true });
    at.dispatchEvent(event);
    await settle();
    return event;
  }
}

export async function adding(attributes?: Record<string, string>, ttl?: number): Promise<Widget> {
  const widget = new Widget({ mode: "add", ...attributes });
  await settle();
  await step("invite", uri(ttl));
  return widget;
}

export async function connecting(mode: "add" | "join", link = "KSYNC:XYZ"): Promise<Widget> {
  const widget = new Widget({ mode: "join" });
  if (mode === "add") {
    widget.element.setAttribute("mode", "add");
    await settle();
    await step("invite", uri());
    await widget.click("paste-instead");
  }
  await widget.type("paste", link);
  await widget.submit();
  return widget;
}

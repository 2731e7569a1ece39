import { el, icon } from "./dom";

/** What the frame holds. */
interface Parts {
  here: HTMLElement;
  banner: HTMLElement;
  list: HTMLElement;
  pane: HTMLElement;
  toasts: HTMLElement;
  line: HTMLElement;
  /** Opens the devices page. */
  devices: () => void;
}

/** The parts in their places. `data-view` says which of list and text a narrow window shows. */
export function frame({ here, banner, list, pane, toasts, line, devices }: Parts): HTMLElement {
  const logo = el("img", { src: "./icon.svg", alt: "", width: "24", height: "24" });
  const attributes = { type: "button", class: "button", "data-testid": "devices-button", "aria-haspopup": "dialog" };
  const button = el("button", { ...attributes, click: devices }, icon("devices"), "Devices");
  const top = el("header", { class: "top" }, el("h1", { class: "brand" }, logo, "0k Notes"), here, button);
  const main = el("main", { class: "main" }, list, pane);
  return el("div", { class: "app", "data-view": "list" }, top, banner, main, toasts, line);
}

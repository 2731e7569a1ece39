import { el, icon } from "./dom";

/** What the frame holds. */
interface Parts {
  here: HTMLElement;
  banner: HTMLElement;
  list: HTMLElement;
  pane: HTMLElement;
  toasts: HTMLElement;
  line: HTMLElement;
  /** Opens the files. */
  files: () => void;
  /** Opens the devices page. */
  devices: () => void;
}

/** The parts in their places. `data-view` says which of list and text a narrow window shows. */
export function frame({ here, banner, list, pane, toasts, line, files, devices }: Parts): HTMLElement {
  const logo = el("img", { src: "./icon.svg", alt: "", width: "24", height: "24" });
  const way = (name: "file" | "devices", words: string, testid: string, click: () => void): HTMLElement => {
    const attributes = { type: "button", class: "button", "data-testid": testid, "aria-haspopup": "dialog", title: words };
    return el("button", { ...attributes, click }, icon(name), el("span", { class: "button-text" }, words));
  };
  const ways = [way("file", "Files", "files-button", files), way("devices", "Devices", "devices-button", devices)];
  const top = el("header", { class: "top" }, el("h1", { class: "brand" }, logo, "0k Notes"), here, ...ways);
  const main = el("main", { class: "main" }, list, pane);
  return el("div", { class: "app", "data-view": "list" }, top, banner, main, toasts, line);
}

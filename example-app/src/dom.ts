type Child = Node | string | undefined | false;

/** Attributes by their names in HTML; a function listens to the event of that name; `false` leaves it out. */
type Attributes = Record<string, string | boolean | undefined | ((event: Event) => void)>;

/** Makes an element. Texts become text nodes, so nothing that people wrote is ever read as HTML. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (typeof value === "string") element.setAttribute(name, value);
  }
  element.append(...children.filter((child): child is Node | string => child !== undefined && child !== false));
  return element;
}

/** Drawn for a field of 20 by 20. */
const ICONS = {
  plus: "M10 4v12M4 10h12",
  search: "M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11zM13.2 13.2 17 17",
  trash: "M4 6h12M8 6V4h4v2M5.5 6l.8 10.5h7.4L14.5 6M8.5 9v4.5M11.5 9v4.5",
  back: "M12 4.5 6.5 10l5.5 5.5",
  close: "M5 5l10 10M15 5 5 15",
  devices: "M3 5h10v7H3zM2 15h9M13.5 8H17v8h-3.5z",
  file: "M5 3h6.5L15 6.5V17H5zM11.5 3v3.5H15",
  save: "M10 3.5v9M6 9l4 4 4-4M4 16.5h12",
} as const;

/** An icon without a meaning of its own: whatever it stands in says what it does. */
export function icon(name: keyof typeof ICONS): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button with words on it. */
export function button(label: string, click: () => void, attributes: Attributes = {}): HTMLButtonElement {
  return el("button", { type: "button", class: "button", click, ...attributes }, label);
}

/** A button with an icon on it, whose words are for screen readers and the pointer that rests on it. */
export function iconButton(
  name: keyof typeof ICONS,
  label: string,
  click: () => void,
  attributes: Attributes = {},
): HTMLButtonElement {
  return el(
    "button",
    { type: "button", class: "icon-button", "aria-label": label, title: label, click, ...attributes },
    icon(name),
  );
}

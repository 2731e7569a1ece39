type Child = Node | string | undefined;

/** An element with attributes and children. Text becomes text, never markup. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string | boolean | undefined>> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** A button. */
export function button(
  testid: string,
  kind: "primary" | "plain" | "quiet",
  label: string,
  onClick: () => void,
): HTMLButtonElement {
  const element = h("button", { type: "button", class: kind, "data-testid": testid }, label);
  element.addEventListener("click", onClick);
  return element;
}

/** A form that a click or Enter sends to `onSubmit`, and nowhere else. */
export function form(onSubmit: () => void, ...children: Child[]): HTMLFormElement {
  const element = h("form", { novalidate: true }, ...children);
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    onSubmit();
  });
  return element;
}

/** A drawing, read as XML, so that nothing in it runs and no markup of the page is made of it. Undefined if it is none. */
export function drawing(svg: string, label: string): Element | undefined {
  const root = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  if (root?.localName !== "svg") return undefined;
  const element = document.importNode(root, true);
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", label);
  return element;
}

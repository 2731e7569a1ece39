import { h } from "./dom.js";
import type { Kit } from "./kit-views.js";

const CSS = `
@media screen { .ksync-paper { display: none; } }
@media print {
  body > :not(.ksync-paper) { display: none !important; }
  .ksync-paper { font: 14pt/1.6 system-ui, sans-serif; color: #000; background: #fff; }
  .ksync-paper ol { columns: 3; }
}`;

/** Prints a kit and nothing else of the page. What was printed is in the page for no longer than that takes. */
export function printed(kit: Kit): void {
  const list = h("ol");
  list.append(...kit.words.map((word) => h("li", {}, word)));
  const paper = h("div", { class: "ksync-paper", "aria-hidden": "true" }, h("h1", {}, "Recovery kit"), list, h("p", {}, `Relay: ${kit.relay}`));
  // Constructed, so that a page's security policy has nothing against it.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(CSS);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  document.body.append(paper);
  const gone = (): void => {
    paper.remove();
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
  };
  addEventListener("afterprint", gone, { once: true });
  try {
    print();
  } catch {
    gone();
  }
}

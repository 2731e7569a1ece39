import { el } from "./dom";
import type { Person } from "./people";
import { initials } from "./text";

/** How many of the others are shown one by one. */
const SHOWN = 4;

/** Who else is here now. */
export class HereNow {
  readonly element = el("div", { class: "here", "data-testid": "here-now", role: "status", "aria-live": "polite" });
  private key = "";

  show(people: readonly Person[]): void {
    const others = people.filter((person) => !person.own);
    const key = JSON.stringify(others.map((person) => [person.device, person.name]));
    if (key === this.key) return;
    this.key = key;
    const [only] = others;
    if (!only) return this.element.replaceChildren();
    const words = others.length === 1 ? `${only.name} is here` : `${others.length} others are here`;
    const names = others.map((person) => person.name).join(", ");
    this.element.replaceChildren(
      ...others.slice(0, SHOWN).map(avatar),
      el("span", { class: "here-words", "aria-hidden": "true", title: names }, words),
      el("span", { class: "sr-only" }, `Here now: ${names}`),
    );
  }
}

/** A round mark with a person's letters and colour; the name stands beside it wherever it is used. */
export function avatar(person: Person): HTMLElement {
  const mark = el("span", { class: "avatar", "aria-hidden": "true", title: person.name }, initials(person.name));
  mark.style.background = person.color;
  return mark;
}

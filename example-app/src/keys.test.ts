// @vitest-environment happy-dom
import { afterEach, expect, it, vi } from "vitest";

import { listenForKeys } from "./keys";
import { List } from "./list";

afterEach(() => document.body.replaceChildren());

const press = (on: EventTarget, key: string, isComposing: boolean): void =>
  void on.dispatchEvent(new KeyboardEvent("keydown", { key, isComposing, bubbles: true, cancelable: true }));

it("leaves the keys to an input method that is composing", () => {
  const back = vi.fn();
  listenForKeys({ create: vi.fn(), search: vi.fn(), back });
  press(document.body, "Escape", true);
  expect(back).not.toHaveBeenCalled();
  press(document.body, "Escape", false);
  expect(back).toHaveBeenCalledOnce();
});

it("does so in the search field, too", () => {
  const open = vi.fn();
  const list = new List({ create: vi.fn(), open, trash: vi.fn(), shelf: vi.fn() });
  document.body.append(list.element);
  const note = { id: "1", title: "", snippet: "", text: "", updated: 0, created: 0, trashed: undefined };
  list.show({ notes: [note], deleted: [], selected: undefined, people: [], empty: "", writable: true });
  const field = list.element.querySelector("input") as HTMLInputElement;
  press(field, "Enter", true);
  expect(open).not.toHaveBeenCalled();
  field.value = "すし";
  press(field, "Escape", true);
  expect(field.value).toBe("すし");
  field.value = "";
  press(field, "Enter", false);
  expect(open).toHaveBeenCalledWith("1", false);
});

// @vitest-environment happy-dom
import { afterEach, expect, it } from "vitest";

import { ask } from "./dialog";

afterEach(() => document.body.replaceChildren());

const find = <T extends HTMLElement>(testid: string): T => {
  const found = document.querySelector<T>(`[data-testid="${testid}"]`);
  if (!found) throw new Error(`there is no ${testid}`);
  return found;
};

/** A question whose answer takes as long as the test wants. */
function question() {
  let settle!: { done: () => void; failed: (error: Error) => void };
  const acting = new Promise<void>((done, failed) => (settle = { done, failed }));
  ask({ title: "Leave?", text: [], yes: "Leave", no: "Stay", testid: "confirm", act: () => acting });
  return settle;
}

/** What Escape does in a dialog. Gives whether it would close. */
const escape = (): boolean => {
  const key = new KeyboardEvent("keydown", { key: "Escape", bubbles: true, cancelable: true });
  const dialog = document.querySelector("dialog");
  return [key, new Event("cancel", { cancelable: true })].some((event) => dialog?.dispatchEvent(event));
};

it("cannot be put away while its action runs: it could not be stopped", async () => {
  const acting = question();
  find("confirm").click();
  expect(find<HTMLButtonElement>("cancel").disabled).toBe(true);
  find("close-dialog").click();
  expect(document.querySelector("dialog")).not.toBeNull();
  expect(escape()).toBe(false);
  acting.done();
  await expect.poll(() => document.querySelector("dialog")).toBeNull();
});

it("can be put away again once its action has failed", async () => {
  const acting = question();
  find("confirm").click();
  acting.failed(new Error("it rains"));
  await expect.poll(() => document.querySelector('[role="alert"]')?.textContent).toContain("It rains.");
  expect(find<HTMLButtonElement>("cancel").disabled).toBe(false);
  expect(escape()).toBe(true);
  find("close-dialog").click();
  expect(document.querySelector("dialog")).toBeNull();
});

it("gives the focus back to the button whose action has failed", async () => {
  const acting = question();
  find("confirm").focus();
  find("confirm").click();
  // A browser takes the focus from a button that is disabled.
  const other = document.body.appendChild(document.createElement("input"));
  other.focus();
  other.remove();
  expect(document.activeElement).toBe(document.body);
  acting.failed(new Error("it rains"));
  await expect.poll(() => document.activeElement).toBe(find("confirm"));
});

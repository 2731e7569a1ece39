import { expect, test, vi } from "vitest";

import "../widget.js";
import { LIST, wordOf } from "../widget/bip39.js";
import { fails, plugin, settle, status } from "./plugin.js";

const rust = plugin();
const WORDS = LIST.filter((_, at) => at % 85 === 7).slice(0, 24);
const KIT = { words: WORDS.join(" "), relay: "https://relay.example" };

async function shown(attributes: Record<string, string> = {}, more: Parameters<typeof status>[0] = {}) {
  rust.on("status", () => status(more));
  const element = document.createElement("ksync-kit");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  const told: CustomEvent[] = [];
  for (const type of ["ksync-kit-made", "ksync-recovered", "ksync-fresh", "ksync-closed"]) {
    element.addEventListener(type, (event) => told.push(event as CustomEvent));
  }
  document.body.append(element);
  await settle();
  const root = element.shadowRoot!;
  const all = <T extends HTMLElement = HTMLInputElement>(id: string) => [...root.querySelectorAll<T>(`[data-testid="${id}"]`)];
  const get = (id: string, index = 0) => {
    const found = all(id)[index];
    if (!found) throw new Error(`no ${id}: ${root.textContent}`);
    return found;
  };
  const click = async (id: string) => {
    get(id).click();
    await settle();
  };
  const type = async (field: HTMLInputElement, value: string) => {
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    await settle();
  };
  const screen = () => root.querySelector<HTMLElement>("[data-screen]")?.dataset["screen"];
  return { element, root, told, all, get, click, type, screen };
}

test("the list is BIP39's, and four letters are enough", () => {
  expect(LIST.length).toBe(2048);
  expect(new Set(LIST.map((word) => word.slice(0, 4))).size).toBe(2048);
  expect([wordOf("ABAN"), wordOf("zoo"), wordOf("aba"), wordOf("qwertz")]).toEqual(["abandon", "zoo", undefined, undefined]);
});

test("a kit is made, shown once, and asked for before it counts as written down", async () => {
  rust.on("make_recovery_kit", () => KIT);
  const { root, told, all, get, click, type, screen } = await shown();
  await click("choose-make");
  expect(all("replaces")).toEqual([]);
  await click("make");
  expect(screen()).toBe("words");
  expect([...get("kit-words").children].map((row) => row.textContent)).toEqual(WORDS.map((word, at) => `${at + 1}.${word}`));
  expect(get("kit-relay").textContent).toBe(KIT.relay);
  // A key pressed in haste does not take them away.
  get("kit-words").dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  expect(screen()).toBe("words");

  await click("written");
  expect(screen()).toBe("check");
  expect(root.textContent).not.toContain(WORDS[3]);
  const asked = all("asked");
  expect(asked.length).toBe(3);
  expect(new Set(asked.map((field) => field.id)).size).toBe(3);
  const right = (field: HTMLElement) => WORDS[Number(field.id.replace("word-", "")) - 1]!;
  for (const field of asked) await type(field, right(field).toUpperCase());
  await type(asked[1]!, "zoo");
  await click("check");
  expect(get("problem").textContent).toContain(asked[1]!.id.replace("word-", "Word "));
  expect(root.activeElement).toBe(asked[1]);
  expect(told).toEqual([]);
  await type(asked[1]!, right(asked[1]!));
  await click("check");
  expect(screen()).toBe("made");
  await click("done");
  expect(told.map((event) => [event.type, event.detail])).toEqual([["ksync-kit-made", null], ["ksync-closed", null]]);
  expect(rust.of("make_recovery_kit").length).toBe(1);
});

test("a kit that takes another's place is said to, and the words leave with the element", async () => {
  rust.on("make_recovery_kit", () => KIT);
  const { element, root, get, click } = await shown({ mode: "make" }, { recoveryKit: true });
  expect(get("title").textContent).toBe("Replace your recovery kit?");
  expect(get("replaces").textContent).toContain("worth nothing");
  await click("make");
  expect(root.textContent).toContain(WORDS[5]);
  element.remove();
  await settle();
  expect(root.textContent).not.toContain(WORDS[5]);
});

test("what keeps from making one is said, with what to do", async () => {
  rust.on("make_recovery_kit", fails("KIT_NEEDS_RELAY"));
  const { get, click, screen } = await shown({ mode: "make" });
  await click("make");
  expect(screen()).toBe("error");
  expect(get("error-next").dataset["code"]).toBe("KIT_NEEDS_RELAY");
  await click("again");
  expect(screen()).toBe("make");
});

test("24 words are completed and checked one by one, and bring the group back", async () => {
  const back = { group: "g", device: "d", snapshots: [{ channel: "notes", at: String(Date.now() - 86_400_000) }], leftOut: 1 };
  rust.on("recover", () => back);
  const { root, told, all, get, click, type, screen } = await shown({ mode: "recover", name: "New phone" });
  const fields = all("word");
  expect(fields.length).toBe(24);
  expect(root.querySelector(`label[for="word-7"]`)?.getAttribute("aria-label")).toBe("Word 7");
  await type(fields[0]!, WORDS[0]!.slice(0, 4));
  expect([...root.querySelectorAll("option")].map((option) => option.value)).toContain(WORDS[0]);
  // A space ends a word: it is completed, and the next one is typed.
  await type(fields[0]!, `${WORDS[0]!.slice(0, 4)} `);
  expect([fields[0]!.value, root.activeElement]).toEqual([WORDS[0], fields[1]]);
  await type(fields[1]!, "qwertz ");
  expect(get("problem").textContent).toBe("Word 2 is not a word that recovery kits are made of.");
  expect(fields[1]!.getAttribute("aria-invalid")).toBe("true");
  await type(fields[1]!, WORDS[1]!);
  await click("recover");
  expect(get("problem").textContent).toBe("Word 3 is missing.");
  expect(rust.of("recover")).toEqual([]);
  // All of them at once, numbered as on paper.
  await type(fields[4]!, WORDS.map((word, at) => `${at + 1}. ${word}`).join(" "));
  expect(all("word").map((field) => field.value)).toEqual(WORDS);
  await type(get("relay"), " https://relay.example ");
  await click("recover");
  expect(rust.args("recover")).toEqual([{ words: KIT.words, relay: KIT.relay, name: "New phone" }]);
  expect(screen()).toBe("back");
  expect(get("restored").textContent).toBe("notes was kept yesterday");
  expect(root.textContent).toContain("What came after it is lost");
  expect(root.textContent).toContain("1 more could not be trusted");
  await click("done");
  expect(told.map((event) => event.type)).toEqual(["ksync-recovered", "ksync-closed"]);
  expect(JSON.stringify(told.map((event) => event.detail))).not.toContain(WORDS[9]);
});

test("an error keeps what was typed, and starting fresh is offered", async () => {
  rust.on("recover", fails("KIT_INVALID"));
  const { told, all, get, click, type, screen } = await shown({ mode: "recover" }, { group: null });
  await type(all("word")[0]!, KIT.words);
  await click("recover");
  expect([screen(), get("error-next").dataset["code"]]).toEqual(["error", "KIT_INVALID"]);
  expect(all("start-fresh").length).toBe(1);
  await click("again");
  expect(all("word").map((field) => field.value)).toEqual(WORDS);
  await click("start-fresh");
  await click("confirm-fresh");
  // Nothing is there that could be deleted.
  expect(rust.of("reset")).toEqual([]);
  expect(told.map((event) => event.type)).toEqual(["ksync-fresh", "ksync-closed"]);
});

test("starting fresh on a device that has something deletes it, and says so before", async () => {
  rust.on("reset", () => null);
  const { root, click } = await shown();
  await click("start-fresh");
  expect(root.textContent).toContain("is deleted");
  await click("confirm-fresh");
  expect(rust.of("reset").length).toBe(1);
});

test("the kit alone is printed, and leaves the page when that is over", async () => {
  rust.on("make_recovery_kit", () => KIT);
  const print = vi.fn(() => {
    expect(document.querySelector(".ksync-paper")?.textContent).toContain(WORDS[3]);
  });
  vi.stubGlobal("print", print);
  const { click } = await shown({ mode: "make" });
  await click("make");
  await click("print");
  expect(print).toHaveBeenCalledOnce();
  dispatchEvent(new Event("afterprint"));
  expect(document.querySelector(".ksync-paper")).toBeNull();
  vi.unstubAllGlobals();
});

import { expect, test } from "vitest";

import { adding, connecting, REQUEST, rust, step, uri, Widget } from "./pair.js";
import { failure, fails, settle } from "./plugin.js";

test("the short code stands beside the drawing, where there is one", async () => {
  const widget = await adding();
  expect(widget.text("code")).toBe("7-ability-able-about");
  const box = widget.get("code").parentElement;
  expect(box?.getAttribute("role")).toBe("group");
  expect(widget.root.querySelector(`#${box?.getAttribute("aria-labelledby")}`)?.textContent).toBe("Code");
  const embedded = new Widget({ mode: "add" });
  await settle();
  await step("invite", { ...uri(), code: null });
  expect(embedded.screen).toBe("add");
  expect(embedded.has("code")).toBe(false);
  expect(embedded.root.textContent).toContain("paste the link");
});

test("a code that somebody has guessed at goes, is said to be void, and the link stays", async () => {
  const widget = await adding();
  await step("invite", { type: "codeOver", error: failure("WRONG_CODE") });
  expect(widget.screen).toBe("add");
  expect(widget.has("code")).toBe(false);
  expect(widget.text("code-over")).toContain("Somebody has typed another one");
  expect(widget.text("live")).toContain("void now");
  expect(widget.get<HTMLInputElement>("link").value).toBe("KSYNC:ABC");
  await step("invite", REQUEST);
  expect(widget.screen).toBe("type-digits");
});

test("a newcomer types a code: nobody types digits, and the member says yes", async () => {
  const newcomer = await connecting("join", "7 ability able about");
  expect(rust.args("join")).toMatchObject([{ link: "7 ability able about" }]);
  await step("join", { type: "agreed" });
  await step("join", { type: "joined", group: "g", device: "d" });
  expect(newcomer.screen).toBe("done");
  const member = await adding();
  await step("invite", { ...REQUEST, needsCheck: false });
  expect(member.screen).toBe("consent");
  await member.click("add");
  expect(rust.args("pairing_consent")).toEqual([{ pairing: 11, yes: true }]);
});

test("a member types the code that a newcomer shows", async () => {
  const newcomer = new Widget({ mode: "join" });
  await newcomer.click("show-instead");
  await step("request_join", uri());
  expect(newcomer.screen).toBe("join-show");
  expect(newcomer.text("code")).toBe("7-ability-able-about");
  const member = await connecting("add", "7-ability-able-about");
  expect(rust.args("invite").at(-1)).toMatchObject({ link: "7-ability-able-about", ttlMs: null });
  await step("invite", { ...REQUEST, needsCheck: false });
  expect(member.screen).toBe("consent");
});

test.each([
  ["CODE_INVALID", "not a complete code", "three words", true],
  ["CODE_NEEDS_RELAY", "Codes do not work here", "QR code", false],
  ["NO_SUCH_PAIRING", "No device shows this code", "Compare the number", true],
  ["PAIRING_USED", "has been used already", "typed wrongly", false],
  ["TOO_MANY_TRIES", "Too many codes", "Wait a minute", true],
])("why a code was not taken is said in its own words: %s", async (code, what, next, kept) => {
  rust.on("join", fails(code));
  const widget = await connecting("join", "7-zoo-zoo-zoo");
  expect(widget.text("error")).toContain(what);
  expect(widget.text("error-next")).toContain(next);
  await widget.click("again");
  expect(widget.screen).toBe("join");
  expect(widget.get<HTMLTextAreaElement>("paste").value).toBe(kept ? "7-zoo-zoo-zoo" : "");
});

test("a code with wrong words is void, and that is said", async () => {
  const widget = await connecting("join", "7-zoo-zoo-zoo");
  await step("join", { type: "failed", error: failure("WRONG_CODE") });
  expect(widget.text("error")).toContain("not the words");
  expect(widget.text("error-next")).toContain("Make a new one there");
  await widget.click("again");
  expect(widget.get<HTMLTextAreaElement>("paste").value).toBe("");
});

test("a code for the other side is not tried on this one: it has been used", async () => {
  rust.on("join", fails("WRONG_SIDE"));
  await connecting("join", "7-zoo-zoo-zoo");
  expect(rust.args("join").length).toBe(1);
  expect(rust.of("invite")).toEqual([]);
});

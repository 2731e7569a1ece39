import { expect, test, vi } from "vitest";

import { ADDED, adding, connecting, REQUEST, rust, step, uri, Widget } from "./pair.js";
import { deferred, failure, fails, settle } from "./plugin.js";

test("the first screen asks which device this is, and each answer leads on", async () => {
  const widget = new Widget();
  expect(widget.screen).toBe("start");
  expect(widget.text("choose-add")).toContain("This device has the data");
  await widget.click("choose-join");
  expect(widget.screen).toBe("join");
  await widget.click("cancel");
  expect(widget.screen).toBe("start");
  await widget.click("choose-add");
  expect(widget.screen).toBe("waiting");
  await step("invite", uri());
  expect(widget.screen).toBe("add");
});

test("the member's code is a drawing with a name, and its link can be read", async () => {
  const widget = await adding();
  const drawing = widget.get("qr").querySelector("svg");
  expect(drawing?.getAttribute("role")).toBe("img");
  expect(drawing?.getAttribute("aria-label")).toBe("QR code that adds another device");
  expect(drawing?.querySelector("path")?.getAttribute("d")).toBe("M4 4h7v1h-7z");
  const link = widget.get<HTMLInputElement>("link");
  expect(link.value).toBe("KSYNC:ABC");
  expect(link.hasAttribute("readonly")).toBe(true);
  expect(widget.root.querySelector('label[for="link"]')?.textContent).toBe("Link");
});

test("a drawing that is no SVG leaves the link, which is enough", async () => {
  const widget = new Widget({ mode: "add" });
  await settle();
  await step("invite", { ...uri(), svg: "" });
  expect(widget.screen).toBe("add");
  expect(widget.get<HTMLInputElement>("link").value).toBe("KSYNC:ABC");
});

test("copy copies the link and says so", async () => {
  const writeText = vi.spyOn(navigator.clipboard, "writeText").mockResolvedValue();
  const widget = await adding();
  await widget.click("copy");
  expect(writeText).toHaveBeenCalledWith("KSYNC:ABC");
  expect(widget.text("copy")).toBe("Copied");
  expect(widget.text("live")).toBe("The link was copied.");
  await vi.advanceTimersByTimeAsync(2_500);
  expect(widget.text("copy")).toBe("Copy");
});

test("where a page has no clipboard, the link is selected and that is said", async () => {
  vi.spyOn(navigator.clipboard, "writeText").mockRejectedValue(new Error("denied"));
  const widget = await adding();
  await widget.click("copy");
  expect(widget.text("copy")).toBe("Selected");
  expect(widget.text("live")).toContain("Copy it with the keyboard");
});

test("the time counts down, its last minute is said, and its end offers a new code", async () => {
  const widget = await adding({}, 75_000);
  expect(widget.text("countdown")).toBe("1:15");
  await vi.advanceTimersByTimeAsync(6_000);
  expect(widget.text("countdown")).toBe("1:09");
  await vi.advanceTimersByTimeAsync(9_000);
  expect(widget.text("live")).toContain("one more minute");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(widget.screen).toBe("expired");
  expect(rust.args("pairing_cancel")).toEqual([{ pairing: 11 }]);
  await widget.click("new-code");
  await step("invite", uri());
  expect(widget.screen).toBe("add");
  expect(widget.text("countdown")).toBe("10:00");
});

test("the last minute is said once, also where the second that begins it was slept through", async () => {
  const widget = await adding({}, 75_400);
  vi.setSystemTime(Date.now() + 20_000);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(widget.text("live")).toContain("one more minute");
  widget.root.querySelector('[data-testid="live"]')?.replaceChildren();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(widget.text("live")).toBe("");
});

test("the plugin's word that the code has expired leads to the same screen", async () => {
  const widget = await adding();
  await step("invite", { type: "failed", error: failure("PAIRING_EXPIRED") });
  expect(widget.screen).toBe("expired");
});

test("the digits of a newcomer are typed, checked for their number, and sent by Enter", async () => {
  const widget = await adding();
  await step("invite", REQUEST);
  expect(widget.screen).toBe("type-digits");
  expect(widget.text("title"), "a name is text, whatever is in it").toBe("Add «Pixel <b>9»?");
  const field = widget.get<HTMLInputElement>("digit-input");
  expect(widget.root.activeElement).toBe(field);
  expect(field.inputMode || field.getAttribute("inputmode")).toBe("numeric");
  expect(widget.root.querySelector('label[for="digits"]')?.textContent).toBe("Four digits");
  await widget.type("digit-input", "47x");
  expect(field.value).toBe("47");
  await widget.submit();
  expect(widget.text("problem")).toBe("Type all four digits.");
  expect(rust.of("pairing_check")).toEqual([]);
  await widget.type("digit-input", "4711");
  await widget.submit();
  expect(rust.args("pairing_check")).toEqual([{ pairing: 11, digits: "4711" }]);
  expect(widget.screen).toBe("waiting");
  await step("invite", ADDED);
  expect(widget.screen).toBe("done");
  expect(widget.text("title")).toBe("«Pixel 9» was added");
  expect(widget.paired).toEqual([{ role: "member", device: { id: "p", name: "Pixel 9" } }]);
  await widget.click("done");
  expect(widget.closed).toBe(1);
});

test("a wrong code leaves one try and says so; the second one is the end", async () => {
  rust.on("pairing_check", fails("WRONG_CODE"));
  const widget = await adding();
  await step("invite", REQUEST);
  await widget.type("digit-input", "0000");
  await widget.submit();
  expect(widget.screen).toBe("type-digits");
  expect(widget.text("problem")).toContain("one more try");
  expect(widget.text("live")).toContain("one more try");
  expect(widget.get("digit-input").getAttribute("aria-invalid")).toBe("true");
  expect(widget.get("digit-input").getAttribute("aria-describedby")).toBe("problem");
  rust.on("pairing_check", fails("TOO_MANY_TRIES"));
  await widget.submit();
  expect(widget.screen).toBe("error");
  expect(widget.text("error")).toContain("wrong twice");
});

test("while an answer is on its way, it is not given again", async () => {
  const asked = deferred<null>();
  rust.on("pairing_check", () => asked.promise);
  const widget = await adding();
  await step("invite", REQUEST);
  await widget.type("digit-input", "4711");
  await widget.submit();
  await widget.submit();
  expect(rust.of("pairing_check").length).toBe(1);
  expect(widget.get("add").getAttribute("aria-disabled")).toBe("true");
});

test.each([true, false])("while a yes is on its way, there is no no; digits to type: %s", async (needsCheck) => {
  const asked = deferred<null>();
  for (const command of ["pairing_check", "pairing_consent"]) rust.on(command, () => asked.promise);
  const widget = await adding();
  await step("invite", { ...REQUEST, needsCheck });
  if (needsCheck) {
    await widget.type("digit-input", "4711");
    await widget.submit();
  } else {
    await widget.click("add");
  }
  expect(widget.get("refuse").getAttribute("aria-disabled")).toBe("true");
  await widget.click("refuse");
  expect(rust.of("pairing_check").length + rust.of("pairing_consent").length).toBe(1);
  asked.resolve(null);
  await settle();
  expect(widget.screen).toBe("waiting");
});

test("after a wrong code there is a no again", async () => {
  rust.on("pairing_check", fails("WRONG_CODE"));
  const widget = await adding();
  await step("invite", REQUEST);
  await widget.type("digit-input", "0000");
  await widget.submit();
  await widget.click("refuse");
  expect(rust.args("pairing_consent")).toEqual([{ pairing: 11, yes: false }]);
});

test("what was wrong is not said any more of what is typed next", async () => {
  const widget = await connecting("join", "  ");
  await widget.type("paste", "K");
  expect(widget.text("problem")).toBe("");
  expect(widget.get("paste").hasAttribute("aria-invalid")).toBe(false);
  const member = await adding();
  await step("invite", REQUEST);
  await member.submit();
  expect(member.get("digit-input").getAttribute("aria-invalid")).toBe("true");
  await member.type("digit-input", "4");
  expect(member.text("problem")).toBe("");
  expect(member.get("digit-input").hasAttribute("aria-invalid")).toBe(false);
});

test("refusing says no to the newcomer, and that nothing was shared", async () => {
  const widget = await adding();
  await step("invite", REQUEST);
  await widget.click("refuse");
  expect(rust.args("pairing_consent")).toEqual([{ pairing: 11, yes: false }]);
  expect(rust.of("pairing_cancel")).toEqual([]);
  await step("invite", { type: "failed", error: failure("PAIRING_REFUSED") });
  expect(widget.text("error")).toBe("The device was not added");
  expect(widget.text("error-next")).toContain("Nothing was shared");
});

test("a member that takes a newcomer's link shows digits, then asks for a plain yes", async () => {
  const widget = await connecting("add");
  expect(rust.args("invite").at(-1)).toMatchObject({ link: "KSYNC:XYZ" });
  await step("invite", { type: "check", code: "0815" });
  expect(widget.screen).toBe("show-digits");
  expect(widget.text("digits")).toBe("0815");
  expect(widget.get("digits").getAttribute("aria-label")).toBe("0 8 1 5");
  await step("invite", { ...REQUEST, needsCheck: false });
  expect(widget.screen).toBe("consent");
  await widget.click("add");
  expect(rust.args("pairing_consent")).toEqual([{ pairing: 11, yes: true }]);
  await step("invite", ADDED);
  expect(widget.screen).toBe("done");
});

test("a newcomer pastes a link, shows digits, waits, and is in", async () => {
  const widget = await connecting("join");
  await step("join", { type: "check", code: "4711" });
  expect(widget.text("title")).toBe("Type these on the other device");
  await step("join", { type: "agreed" });
  expect(widget.screen).toBe("waiting");
  await step("join", { type: "joined", group: "g", device: "d" });
  expect(widget.screen).toBe("done");
  expect(widget.paired).toEqual([{ role: "newcomer", group: "g", device: "d" }]);
});

test("the name of the element is the name of the device", async () => {
  const widget = new Widget({ mode: "join", name: "Ada's phone" });
  widget.element.focus();
  await widget.type("paste", "KSYNC:XYZ");
  await widget.key("Enter");
  expect(rust.args("join")).toMatchObject([{ link: "KSYNC:XYZ", name: "Ada's phone" }]);
});

test("an empty link is asked for again, and nothing is sent", async () => {
  const widget = await connecting("join", "  ");
  expect(widget.screen).toBe("join");
  expect(widget.text("problem")).toContain("paste the link");
  expect(rust.of("join")).toEqual([]);
});

test.each(["add", "join"] as const)("a link for the other side is taken on the other side: %s", async (mode) => {
  const [wrong, right] = mode === "add" ? ["invite", "join"] : ["join", "invite"];
  if (mode === "add") rust.on("invite", ({ link }: { link: string | null }) => (link === null ? 11 : fails("WRONG_SIDE")()));
  else rust.on("join", fails("WRONG_SIDE"));
  const widget = await connecting(mode);
  expect(rust.args(wrong ?? "").at(-1)).toMatchObject({ link: "KSYNC:XYZ" });
  expect(rust.args(right ?? "")).toMatchObject([{ link: "KSYNC:XYZ" }]);
  await step(right ?? "", { type: "check", code: "4711" });
  expect(widget.screen).toBe("show-digits");
});

test("a link that fits neither side is an error, not a circle", async () => {
  rust.on("join", fails("WRONG_SIDE")).on("invite", fails("WRONG_SIDE"));
  const widget = await connecting("join");
  expect(widget.screen).toBe("error");
  expect(rust.of("join").length + rust.of("invite").length).toBe(2);
});

test("a newcomer can show the code, and type the digits of the member", async () => {
  const widget = new Widget({ mode: "join" });
  await widget.click("show-instead");
  await step("request_join", uri());
  expect(widget.screen).toBe("join-show");
  expect(widget.get("qr").querySelector("svg")?.getAttribute("aria-label")).toContain("lets this device join");
  await step("request_join", { type: "typeCheck" });
  expect(widget.screen).toBe("type-digits");
  await widget.type("digit-input", "4711");
  await widget.submit();
  expect(rust.args("pairing_check")).toEqual([{ pairing: 11, digits: "4711" }]);
  expect(widget.screen).toBe("waiting");
  await step("request_join", { type: "agreed" });
  await step("request_join", { type: "joined", group: "g", device: "d" });
  expect(widget.screen).toBe("done");
});

test("where a newcomer cannot show a code, that is explained and no longer offered", async () => {
  rust.on("request_join", fails("ADDRESS_INVALID"));
  const widget = new Widget({ mode: "join" });
  await widget.click("show-instead");
  expect(widget.screen).toBe("join");
  expect(widget.text("note")).toContain("This device cannot show a code");
  expect(widget.has("show-instead")).toBe(false);
});

test.each([
  ["LINK_INVALID", "not a complete pairing link", "Copy the whole link"],
  ["PAIRING_EXPIRED", "expired", "new code"],
  ["PAIRING_USED", "used already", "new code"],
  ["PAIRING_REFUSED", "It was refused", "try again"],
  ["WRONG_APP", "another app", "same app on both"],
  ["TOO_MANY_TRIES", "wrong twice", "new one"],
  ["NO_SUCH_PAIRING", "no longer waiting", "Keep the code open"],
  ["PAIRING_FORGED", "Somebody else", "new code"],
  ["RELAY_UNREACHABLE", "cannot be reached", "online"],
  ["RATE_LIMITED", "too many attempts", "Wait"],
  ["ALREADY_IN_GROUP", "already shares", "leave"],
  ["ACCESS_DENIED", "access token", "Ask"],
  ["DRAINING", "restarting", "Wait"],
])("%s says what happened and what to do", async (code, what, next) => {
  rust.on("join", fails(code));
  const widget = await connecting("join");
  expect(widget.screen).toBe("error");
  expect(widget.text("error")).toContain(what);
  expect(widget.text("error-next")).toContain(next);
  expect(widget.text("live")).toContain(next);
  await widget.click("again");
  expect(widget.screen).toBe("join");
  expect(widget.get<HTMLTextAreaElement>("paste").value).toBe(["LINK_INVALID", "WRONG_APP"].includes(code) ? "KSYNC:XYZ" : "");
});

test("an error without words of ours says the plugin's", async () => {
  rust.on("invite", fails("STORE_CORRUPT"));
  const widget = new Widget({ mode: "add" });
  await settle();
  expect(widget.text("error")).toBe("It failed with STORE_CORRUPT");
  expect(widget.text("error-next")).toBe("Do better.");
  await widget.click("close");
  expect(widget.closed).toBe(1);
});

test.each([
  ["REMOVED", "was removed", "reset sync"],
  ["VERSION", "too far apart", "Update"],
  ["SUITE", "different ways", "same edition"],
])("%s says what to do elsewhere, and offers no second attempt", async (code, what, next) => {
  rust.on("join", fails(code));
  const widget = await connecting("join");
  expect(widget.text("error")).toContain(what);
  expect(widget.text("error-next")).toContain(next);
  expect(() => widget.get("again")).toThrow();
  await widget.click("close");
  expect(widget.closed).toBe(1);
});

test("a missing permission is an error for the developer", async () => {
  rust.on("invite", () => Promise.reject("Command plugin:0ksync|invite not allowed by ACL" as unknown as Error));
  const widget = new Widget({ mode: "add" });
  await settle();
  expect(widget.text("error-next")).toContain("0ksync:default");
});

test("Escape goes back, gives up what is open, and closes where there is no way back", async () => {
  const widget = new Widget();
  await widget.click("choose-add");
  await step("invite", uri());
  await widget.click("paste-instead");
  expect(widget.screen).toBe("add-paste");
  expect(rust.of("pairing_cancel").length).toBe(1);
  const back = await widget.key("Escape");
  expect(back.defaultPrevented).toBe(true);
  await step("invite", uri());
  expect(widget.screen).toBe("add");
  await widget.key("Escape");
  expect(widget.screen).toBe("start");
  expect(rust.of("pairing_cancel").length).toBe(2);
  expect(widget.closed).toBe(0);
  const closing = await widget.key("Escape");
  expect(widget.closed).toBe(1);
  expect(closing.defaultPrevented, "a dialog around it may close, too").toBe(false);
});

test("where the app chose the side, Escape closes", async () => {
  const widget = await adding();
  await widget.key("Escape");
  expect(widget.closed).toBe(1);
  expect(rust.of("pairing_cancel").length).toBe(1);
});

test("taking the element out gives up what is open, and moving it does not", async () => {
  const widget = await adding();
  const other = document.createElement("main");
  document.body.append(other);
  other.append(widget.element);
  await settle();
  expect(rust.of("pairing_cancel")).toEqual([]);
  expect(widget.screen).toBe("add");
  widget.element.remove();
  await settle();
  expect(rust.args("pairing_cancel")).toEqual([{ pairing: 11 }]);
  document.body.append(widget.element);
  await settle();
  await step("invite", uri());
  expect(widget.screen).toBe("add");
});

test("an invite that is made only after the element has gone is given up as well", async () => {
  const widget = new Widget({ mode: "add" });
  await settle();
  widget.element.remove();
  await settle();
  await step("invite", uri());
  expect(rust.args("pairing_cancel")).toEqual([{ pairing: 11 }]);
});

test("once agreed on, taking the element out gives up nothing", async () => {
  const widget = await connecting("join");
  await step("join", { type: "agreed" });
  expect(widget.has("cancel")).toBe(false);
  widget.element.remove();
  await settle();
  expect(rust.of("pairing_cancel")).toEqual([]);
});

test("the focus follows the screens, and is not taken from elsewhere", async () => {
  const widget = new Widget();
  expect(document.activeElement).toBe(document.body);
  await widget.click("choose-join");
  expect(widget.root.activeElement).toBe(widget.get("paste"));
  await widget.click("cancel");
  expect(widget.root.activeElement).toBe(widget.get("title"));
  const field = document.createElement("input");
  document.body.append(field);
  await widget.click("choose-add");
  field.focus();
  await step("invite", uri());
  expect(document.activeElement).toBe(field);
  expect(widget.text("live")).toBe("Add a device");
});

test("within another component, it is not taken from elsewhere either", async () => {
  const host = document.createElement("div");
  const field = document.createElement("input");
  document.body.append(host, field);
  const widget = new Widget({ mode: "add" });
  host.attachShadow({ mode: "open" }).append(widget.element);
  await settle();
  field.focus();
  await step("invite", uri());
  expect(widget.screen).toBe("add");
  expect(document.activeElement).toBe(field);
});

test("autofocus takes it at the beginning", () => {
  const widget = new Widget({ mode: "join", autofocus: "" });
  expect(widget.root.activeElement).toBe(widget.get("paste"));
});

test("everything on every screen has a name, and nothing has a style of its own", async () => {
  const seen = new Set<string | undefined>();
  const check = (widget: Widget) => {
    seen.add(widget.screen);
    expect(widget.root.querySelector("section")?.getAttribute("aria-labelledby")).toBe("title");
    expect(widget.root.querySelector("#title")?.textContent).toBeTruthy();
    for (const button of widget.root.querySelectorAll("button")) expect(button.textContent?.trim()).toBeTruthy();
    for (const field of widget.root.querySelectorAll("input, textarea")) {
      expect(widget.root.querySelector(`label[for="${field.id}"]`)?.textContent, field.id).toBeTruthy();
    }
    expect(widget.root.querySelector("[style], style, script")).toBeNull();
    expect(widget.root.adoptedStyleSheets.length).toBe(1);
  };
  const widget = new Widget();
  check(widget);
  await widget.click("choose-join");
  check(widget);
  await widget.click("show-instead");
  check(widget);
  await step("request_join", uri());
  check(widget);
  await step("request_join", { type: "typeCheck" });
  check(widget);
  await step("request_join", { type: "failed", error: failure("PAIRING_FORGED") });
  check(widget);
  const member = await connecting("add");
  await step("invite", { type: "check", code: "0815" });
  check(member);
  await step("invite", { ...REQUEST, needsCheck: false });
  check(member);
  await step("invite", ADDED);
  check(member);
  check(await adding());
  expect([...seen].sort()).toEqual(
    ["add", "consent", "done", "error", "join", "join-show", "show-digits", "start", "type-digits", "waiting"],
  );
});

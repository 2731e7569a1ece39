import { beforeEach, expect, test, vi } from "vitest";

import { type JoinRequest, sync, SyncError } from "../index.js";
import { code, deferred, failure, fails, plugin, settle } from "./plugin.js";

const rust = plugin();
const CODE = "7-ability-able-about";
const URI = { type: "uri", uri: "KSYNC:ABC", code: CODE, svg: "<svg/>", expiresAt: "1800000600000" };
const REQUEST = { type: "request", name: "Pixel 9", needsCheck: true };
const ADDED = { type: "added", device: { id: "p", name: "Pixel 9" } };

beforeEach(() => {
  for (const command of ["invite", "join", "request_join"]) rust.on(command, () => 11);
});

const step = (command: string, event: unknown) => rust.sender(command, "steps").send(event);

async function invited(options?: Parameters<typeof sync.invite>[0]) {
  const invite = sync.invite(options);
  await settle();
  step("invite", URI);
  return invite;
}

test("an invite shows its link, and is done when the newcomer is in", async () => {
  const invite = await invited({ ttlMs: 60_000 });
  expect(rust.args("invite")).toMatchObject([{ link: null, ttlMs: 60_000 }]);
  expect(invite).toMatchObject({ uri: "KSYNC:ABC", svg: "<svg/>", expiresAt: new Date(1_800_000_600_000) });
  let request: JoinRequest | undefined;
  step("invite", REQUEST);
  invite.onRequest((asked) => void (request = asked));
  expect(request).toMatchObject({ name: "Pixel 9", needsCheck: true });
  await request?.accept("4711");
  expect(rust.args("pairing_check")).toEqual([{ pairing: 11, digits: "4711" }]);
  step("invite", ADDED);
  expect(await invite.done).toEqual({ id: "p", name: "Pixel 9" });
});

test("an invite shows a short code too, where there is one", async () => {
  expect((await invited()).code).toBe(CODE);
  const begun = sync.invite();
  await settle();
  step("invite", { ...URI, code: null });
  expect((await begun).code).toBeNull();
});

test("whoever asks hears that the code is void, and the invite goes on", async () => {
  const invite = await invited();
  step("invite", { type: "codeOver", error: failure("WRONG_CODE") });
  const heard: string[] = [];
  invite.onCodeOver((reason) => void heard.push(reason.code));
  expect(heard).toEqual(["WRONG_CODE"]);
  step("invite", ADDED);
  expect(await invite.done).toEqual({ id: "p", name: "Pixel 9" });

  const offered = sync.requestJoin();
  await settle();
  step("request_join", URI);
  const offer = await offered;
  expect(offer.code).toBe(CODE);
  offer.onCodeOver((reason) => void heard.push(reason.code));
  step("request_join", { type: "codeOver", error: failure("RELAY_UNREACHABLE") });
  expect(heard).toEqual(["WRONG_CODE", "RELAY_UNREACHABLE"]);
});

test("a newcomer types a code: no digits, and a plain yes at the member", async () => {
  const shown: string[] = [];
  const done = sync.join(` ${CODE}\n`, { onCheck: (digits) => void shown.push(digits) });
  await settle();
  expect(rust.args("join")).toMatchObject([{ link: CODE }]);
  step("join", { type: "agreed" });
  step("join", { type: "joined", group: "g", device: "d" });
  expect(await done).toEqual({ group: "g", device: "d" });
  expect(shown).toEqual([]);

  const invite = await invited({ onRequest: (request) => request.accept() });
  step("invite", { ...REQUEST, needsCheck: false });
  await settle();
  expect(rust.args("pairing_consent")).toEqual([{ pairing: 11, yes: true }]);
  step("invite", ADDED);
  await invite.done;
});

test("wrong words end a join with their own error", async () => {
  const ended = code(sync.join("7-zoo-zoo-zoo", { onCheck: () => {} }));
  await settle();
  step("join", { type: "failed", error: failure("WRONG_CODE") });
  expect(await ended).toBe("WRONG_CODE");
});

test("a handler given at the start hears the request too, and may refuse", async () => {
  await invited({ onRequest: (request) => request.refuse() });
  step("invite", REQUEST);
  await settle();
  expect(rust.args("pairing_consent")).toEqual([{ pairing: 11, yes: false }]);
});

test("a wrong code is the answer's error, and a handler that passes it on is asked again", async () => {
  rust.on("pairing_check", ({ digits }: { digits: string }) => (digits === "1111" ? fails("WRONG_CODE")() : null));
  const typed = ["1111", "4711"];
  const invite = await invited({ onRequest: (request) => request.accept(typed.shift()) });
  step("invite", REQUEST);
  await settle();
  expect(rust.args("pairing_check").map((args) => (args as { digits: string }).digits)).toEqual(["1111", "4711"]);
  expect(rust.of("pairing_cancel")).toEqual([]);
  step("invite", ADDED);
  await invite.done;
});

test("a handler that throws ends the pairing with what it threw", async () => {
  const invite = await invited({
    onRequest: () => {
      throw new Error("mine");
    },
  });
  step("invite", REQUEST);
  const error = await invite.done.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SyncError);
  expect((error as Error).message).toContain("mine");
  await settle();
  expect(rust.args("pairing_cancel")).toEqual([{ pairing: 11 }]);
});

test("a handler that throws after it has agreed ends nothing: the newcomer is being added", async () => {
  const error = vi.spyOn(console, "error").mockImplementation(() => {});
  const invite = await invited({
    onRequest: async (request) => {
      await request.accept("4711");
      throw new Error("mine");
    },
  });
  step("invite", REQUEST);
  await settle();
  expect(rust.of("pairing_cancel")).toEqual([]);
  expect(error).toHaveBeenCalledOnce();
  step("invite", ADDED);
  expect(await invite.done).toEqual({ id: "p", name: "Pixel 9" });
});

test("what keeps an invite from being made is its error, before the link and instead of it", async () => {
  rust.on("invite", fails("RELAY_UNREACHABLE"));
  expect(await code(sync.invite())).toBe("RELAY_UNREACHABLE");
  rust.on("invite", () => 11);
  const invite = sync.invite();
  const settled = code(invite);
  await settle();
  step("invite", { type: "failed", error: failure("QUOTA") });
  expect(await settled).toBe("QUOTA");
});

test("a failure that nobody looks at is nobody's unhandled rejection", async () => {
  const unhandled = vi.fn();
  process.on("unhandledRejection", unhandled);
  const invite = await invited();
  step("invite", { type: "failed", error: failure("PAIRING_EXPIRED") });
  await settle();
  vi.useRealTimers();
  await new Promise((resolve) => setImmediate(resolve));
  process.off("unhandledRejection", unhandled);
  expect(unhandled).not.toHaveBeenCalled();
  expect(await code(invite.done)).toBe("PAIRING_EXPIRED");
});

test("cancelling says so at once, tells the plugin, and hears nothing more", async () => {
  const invite = await invited();
  invite.cancel();
  invite.cancel();
  expect(await code(invite.done)).toBe("CANCELLED");
  await settle();
  expect(rust.args("pairing_cancel")).toEqual([{ pairing: 11 }]);
  const asked = vi.fn();
  invite.onRequest(asked);
  step("invite", REQUEST);
  expect(asked).not.toHaveBeenCalled();
});

test("a member takes a newcomer's link: shows the digits, then says yes without any", async () => {
  const shown: string[] = [];
  const done = sync.accept("  KSYNC:XYZ\n", {
    onCheck: (digits) => void shown.push(digits),
    onRequest: (request) => request.accept(),
  });
  await settle();
  expect(rust.args("invite")).toMatchObject([{ link: "KSYNC:XYZ", ttlMs: null }]);
  step("invite", { type: "check", code: "0815" });
  step("invite", { ...REQUEST, needsCheck: false });
  await settle();
  expect(shown).toEqual(["0815"]);
  expect(rust.args("pairing_consent")).toEqual([{ pairing: 11, yes: true }]);
  step("invite", ADDED);
  expect(await done).toEqual({ id: "p", name: "Pixel 9" });
});

test("a newcomer takes a member's link: shows the digits, hears the yes, is in", async () => {
  const heard: string[] = [];
  const done = sync.join("KSYNC:ABC", {
    name: "Phone",
    onCheck: (digits) => void heard.push(digits),
    onAgreed: () => void heard.push("agreed"),
  });
  await settle();
  expect(rust.args("join")).toMatchObject([{ link: "KSYNC:ABC", name: "Phone" }]);
  step("join", { type: "check", code: "4711" });
  step("join", { type: "agreed" });
  step("join", { type: "joined", group: "g", device: "d" });
  expect(await done).toEqual({ group: "g", device: "d" });
  expect(heard).toEqual(["4711", "agreed"]);
});

test("a signal gives up a pairing, even one that has not begun, but none that is agreed on", async () => {
  expect(await code(sync.join("K", { onCheck: () => {}, signal: AbortSignal.abort() }))).toBe("CANCELLED");
  expect(rust.of("join")).toEqual([]);

  const begun = deferred<number>();
  rust.on("join", () => begun.promise);
  const early = new AbortController();
  const first = code(sync.join("K", { onCheck: () => {}, signal: early.signal }));
  await settle();
  early.abort();
  begun.resolve(12);
  expect(await first).toBe("CANCELLED");
  await settle();
  expect(rust.args("pairing_cancel")).toEqual([{ pairing: 12 }]);

  rust.on("join", () => 13);
  const late = new AbortController();
  const second = sync.join("K", { onCheck: () => {}, signal: late.signal });
  await settle();
  step("join", { type: "agreed" });
  late.abort();
  step("join", { type: "joined", group: "g", device: "d" });
  expect(await second).toEqual({ group: "g", device: "d" });
  expect(rust.of("pairing_cancel").length).toBe(1);
});

test("a newcomer shows a link, and its person types the digits there", async () => {
  rust.on("pairing_check", ({ digits }: { digits: string }) => (digits === "0000" ? fails("WRONG_CODE")() : null));
  const begun = sync.requestJoin({ relay: "https://relay.example", name: "Phone" });
  await settle();
  expect(rust.args("request_join")).toMatchObject([{ relay: "https://relay.example", name: "Phone" }]);
  step("request_join", URI);
  const offer = await begun;
  step("request_join", { type: "typeCheck" });
  const codes: string[] = [];
  let agreed = false;
  offer.onTypeCheck(async (type) => {
    codes.push(await code(type("0000")));
    codes.push(await code(type("4711")));
  });
  await settle();
  expect(codes).toEqual(["WRONG_CODE", "resolved"]);
  step("request_join", { type: "agreed" });
  offer.onAgreed(() => void (agreed = true));
  expect(agreed).toBe(true);
  step("request_join", { type: "joined", group: "g", device: "d" });
  expect(await offer.done).toEqual({ group: "g", device: "d" });
});

test("a step of a newer plugin is passed over", async () => {
  const invite = await invited();
  step("invite", { type: "somethingNew" });
  step("invite", ADDED);
  expect(await invite.done).toMatchObject({ id: "p" });
});

import { expect, test } from "vitest";

import { sync } from "../index.js";
import { code, fails, plugin } from "./plugin.js";

const rust = plugin();

test("an app goes to the background, is woken there, and comes back", async () => {
  rust.on("background", () => null).on("foreground", () => null).on("wake", () => ({ caughtUp: true, arrived: false }));
  await sync.life.background();
  expect(await sync.life.wake()).toEqual({ caughtUp: true, arrived: false });
  await sync.life.wake({ timeoutMs: 5_000 });
  await sync.life.foreground();
  expect(rust.calls.map((call) => call.command)).toEqual(["background", "wake", "wake", "foreground"]);
  expect(rust.args("wake")).toEqual([{ timeoutMs: 25_000 }, { timeoutMs: 5_000 }]);
});

test("a target is what the platform gave, and errors have their codes", async () => {
  rust.on("set_wake_target", () => null).on("wake_key", () => "BAAA");
  const target = { type: "webPush", endpoint: "https://push.example.org/1", keys: null } as const;
  await sync.life.setTarget({ type: "webPush", endpoint: target.endpoint });
  await sync.life.setTarget(null);
  const keys = { p256dh: "BAAA", auth: "AAAA" };
  const given = { ...target, keys, expirationTime: null };
  await sync.life.setTarget(given);
  expect(rust.args("set_wake_target")).toEqual([{ target }, { target: null }, { target: { ...target, keys } }]);
  expect(await sync.life.key()).toBe("BAAA");
  rust.on("wake_key", fails("WAKE_UNAVAILABLE"));
  expect(await code(sync.life.key())).toBe("WAKE_UNAVAILABLE");
});

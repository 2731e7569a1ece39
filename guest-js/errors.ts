import type { CommandError, ErrorDetails } from "./bindings.js";

/**
 * What every call of this package rejects with.
 *
 * `code` is one of `docs/errors.md`. Among them are four that only the page knows: `NOT_PERMITTED` (the window's capability lacks
 * a permission), `NOT_INSTALLED` (no Tauri, or no plugin, or one of another version), `CANCELLED` (this page gave it up) and
 * `INVALID_UPDATE` (what a Yjs document was sent is no update).
 * `message` is for people and ends with the next step.
 */
export class SyncError extends Error {
  /** What went wrong, for programs: SCREAMING_SNAKE. */
  readonly code: string;
  /** After how many milliseconds the same call may succeed, where that is known. */
  declare readonly retryAfterMs?: number;
  /** The parts of the message, where the plugin gave them. */
  declare readonly details?: ErrorDetails;

  constructor(
    code: string,
    message: string,
    more: { retryAfterMs?: number | null; details?: ErrorDetails; cause?: unknown } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = "SyncError";
    this.code = code;
    if (more.retryAfterMs != null) this.retryAfterMs = more.retryAfterMs;
    if (more.details !== undefined) this.details = more.details;
  }
}

/** An error that has its reason and its next step apart, as those of the plugin do. */
export function explained(code: string, reason: string, nextStep: string, cause?: unknown): SyncError {
  return new SyncError(code, `${reason}. ${nextStep}`, { details: { reason, nextStep, fault: "caller" }, cause });
}

/** This page gave something up. */
export function cancelled(what: string): SyncError {
  return explained("CANCELLED", `${what} was given up on this device`, "Start again if that was not meant.");
}

/** There is no Tauri around this page. */
export function noTauri(): SyncError {
  return explained(
    "NOT_INSTALLED",
    "this page does not run in a Tauri app",
    "Open the app with `tauri dev`, not in a browser.",
  );
}

/**
 * What a command rejected with, as a {@link SyncError}.
 *
 * @param command the command's name in Rust; it decides which permission a refusal names.
 */
export function toSyncError(thrown: unknown, command: string): SyncError {
  if (thrown instanceof SyncError) return thrown;
  if (isCommandError(thrown)) {
    return new SyncError(thrown.code, thrown.message, { retryAfterMs: thrown.retryAfterMs, details: thrown.details });
  }
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  // Tauri itself rejects with bare strings. Release builds say less than debug builds.
  if (/plugin \S* ?not found/i.test(text)) {
    return explained(
      "NOT_INSTALLED",
      "the app has no plugin 0ksync",
      "Run `tauri add 0ksync`, or add `.plugin(tauri_plugin_0ksync::init())` to the app's builder.",
      thrown,
    );
  }
  if (/command \S* ?not found/i.test(text)) {
    return explained(
      "NOT_INSTALLED",
      `the plugin in the app does not know the command ${command}`,
      "Use the same version of tauri-plugin-0ksync and tauri-plugin-0ksync-api.",
      thrown,
    );
  }
  if (/not allowed/i.test(text)) return notPermitted(command, thrown);
  return explained("INTERNAL", text.replace(/\.$/, ""), "Try again. If it stays, report it: this is a bug.", thrown);
}

function isCommandError(thrown: unknown): thrown is CommandError {
  return (
    typeof thrown === "object" &&
    thrown !== null &&
    !(thrown instanceof Error) &&
    "code" in thrown &&
    typeof thrown.code === "string" &&
    "message" in thrown &&
    typeof thrown.message === "string"
  );
}

/** The commands that `0ksync:default` leaves out; `permissions/default.toml` has them in `admin`. */
const ADMIN: ReadonlySet<string> = new Set([
  "remove_device",
  "reset",
  "set_vault",
  "backup_export",
  "backup_import",
  "backup_cancel",
  "make_recovery_kit",
  "recover",
  "set_relays",
  "give_up_first_relay",
  "move_to_suite",
]);

/** Those that name a path, and want a scope besides. */
const PATHS: ReadonlySet<string> = new Set(["file_put", "file_get"]);

function notPermitted(command: string, thrown: unknown): SyncError {
  const set = ADMIN.has(command) ? "0ksync:admin" : PATHS.has(command) ? "0ksync:files-paths" : "0ksync:default";
  const single = `0ksync:allow-${command.replaceAll("_", "-")}`;
  return explained(
    "NOT_PERMITTED",
    `this window may not call ${command}: its capability lacks the permission "${single}"`,
    `Add "${set}", or "${single}" alone, to the permissions in src-tauri/capabilities for this window.`,
    thrown,
  );
}

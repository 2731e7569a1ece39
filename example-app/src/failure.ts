import { SyncError } from "tauri-plugin-0ksync-api";

/** What went wrong and what to do about it, as sentences. */
export interface Failure {
  message: string;
  nextStep: string;
}

/** What to tell a person about an error. */
export function failure(error: unknown): Failure {
  if (error instanceof SyncError) {
    // Without parts, the message has the next step at its end.
    const { reason = error.message, nextStep = "" } = error.details ?? {};
    return { message: sentence(reason), nextStep };
  }
  return { message: sentence(error instanceof Error ? error.message : String(error)), nextStep: "" };
}

/** With a capital at its beginning and a full stop at its end. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  const begun = trimmed.charAt(0).toLocaleUpperCase() + trimmed.slice(1);
  return begun === "" || /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

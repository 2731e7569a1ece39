import { SyncError } from "../errors.js";

/** What an error says to a person. */
export interface Words {
  /** What happened. */
  readonly what: string;
  /** What to do next. */
  readonly next: string;
}

const WORDS: Readonly<Record<string, Words>> = {
  LINK_INVALID: {
    what: "This is not a complete pairing link",
    next: "Copy the whole link on the other device, from “KSYNC:” to its end, and paste it again.",
  },
  CODE_INVALID: {
    what: "This is not a complete code",
    next: "A code is a number and three words. Compare it with the other device, and type it again: it has not been used up.",
  },
  CODE_NOT_APPROVED: {
    what: "This app pairs without codes",
    next: "Scan the QR code of the other device, or copy its link and paste it here.",
  },
  CODE_NEEDS_RELAY: {
    what: "Codes do not work here",
    next: "Scan the QR code of the other device, or copy its link and paste it here.",
  },
  PAIRING_EXPIRED: { what: "The code has expired", next: "Make a new code. Each one works for ten minutes." },
  PAIRING_USED: {
    what: "This code has been used already",
    next: "Make a new code. Each one works once. If nobody of yours has used it, show the new one to nobody else.",
  },
  PAIRING_REFUSED: {
    what: "It was refused",
    next: "Nothing was shared. If that was not meant, wait a moment, try again, and agree on both devices.",
  },
  WRONG_CODE: { what: "These were not the right digits", next: "Type the four digits that the other device shows." },
  WRONG_APP: {
    what: "This link belongs to another app",
    next: "Open the same app on both devices, and make the code there.",
  },
  WRONG_SIDE: {
    what: "Both devices are waiting for the same thing",
    next: "Choose “Add a device” on the one that has the data, and “Join a device” on the other one.",
  },
  TOO_MANY_TRIES: {
    what: "The digits were wrong twice",
    next: "This code is void now. Make a new one, and compare the digits on both screens.",
  },
  NO_SUCH_PAIRING: {
    what: "The other device is no longer waiting",
    next: "Keep the code open on the other device until both are done. Make a new one there if it was closed, or is ten minutes old.",
  },
  PAIRING_FORGED: {
    what: "Somebody else answered this code",
    next: "Nothing was shared. Make a new code, and show it to nobody but your own device.",
  },
  RELAY_UNREACHABLE: {
    what: "The other device cannot be reached",
    next: "Check that both devices are online, then try again.",
  },
  RATE_LIMITED: { what: "There were too many attempts", next: "Wait a moment, then try again." },
  TOO_MANY_CONNECTIONS: { what: "The relay is busy", next: "Wait a moment, then try again." },
  DRAINING: { what: "The relay is restarting", next: "Wait a moment, then try again." },
  TIMEOUT: { what: "The other device did not answer in time", next: "Check that it is online, then try again." },
  ADDRESS_INVALID: {
    what: "This device cannot show a code",
    next: "Choose “Add a device” on the other device, and take its link here.",
  },
  ACCESS_DENIED: {
    what: "The relay wants an access token",
    next: "Ask whoever runs the relay for one, and put it into the app's settings.",
  },
  TOKEN_SPENT: {
    what: "The access token is used up",
    next: "Ask whoever runs the relay for another one, and put it into the app's settings.",
  },
  ALREADY_IN_GROUP: {
    what: "This device already shares its data with others",
    next: "To add one more device, choose “Add a device” here. To join others instead, leave your devices first.",
  },
  REMOVED: {
    what: "This device was removed from your devices",
    next: "If that was not meant, reset sync on this device, then join again.",
  },
  VERSION: { what: "The two apps are too far apart", next: "Update the app on both devices, then try again." },
  SUITE: { what: "The two apps encrypt in different ways", next: "Use the same edition of the app on both devices." },
  PROTOCOL: { what: "The other device answered nonsense", next: "Update the app on both devices, then try again." },
  NOT_PERMITTED: {
    what: "This window of the app may not pair devices",
    next: "Pair in the app's main window. For the developer: its capability lacks “0ksync:default”.",
  },
  NOT_INSTALLED: {
    what: "This app cannot sync here",
    next: "For the developer: run “tauri add 0ksync”, and open the page in the app.",
  },
  REFUSED_HERE: { what: "The device was not added", next: "Nothing was shared with it." },
};

/** What some errors are where a short code was typed: other words for the same. */
const BY_CODE: Readonly<Record<string, Words>> = {
  WRONG_CODE: {
    what: "These were not the words of the other device",
    next: "Nothing was shared, and that code is void now. Make a new one there, and type it word by word.",
  },
  TOO_MANY_TRIES: {
    what: "Too many codes were typed",
    next: "Wait a minute, then try again, or use the link or the QR code.",
  },
  NO_SUCH_PAIRING: {
    what: "No device shows this code",
    next: "Compare the number in front of the words. If it is right, make a new code on the other device, and keep it open.",
  },
  PAIRING_USED: {
    what: "This code has been used already",
    next: "Make a new one on the other device. Each one works once, also if it was typed wrongly.",
  },
};

/** What some errors are to whoever makes a recovery kit, or comes with one. */
const BY_KIT: Readonly<Record<string, Words>> = {
  KIT_INVALID: {
    what: "These are not the 24 words",
    next: "One of them is another than was written down, or stands in another place. Compare each with your paper.",
  },
  KIT_UNKNOWN: {
    what: "The relay knows no such kit",
    next: "Compare the words and the relay's address with your paper. A group may have moved to another relay since.",
  },
  KIT_REPLACED: { what: "These words were replaced", next: "There are newer ones on another paper: use those." },
  KIT_FORGED: {
    what: "The relay shows something that none of your devices vouches for",
    next: "Nothing was taken from it. Ask whoever runs the relay, or try again later.",
  },
  KIT_NEEDS_RELAY: {
    what: "A recovery kit needs a relay of its own",
    next: "The relay runs on one of your devices, and would be lost with it. Choose another one in the app's settings.",
  },
  RELAY_UNREACHABLE: { what: "The relay cannot be reached", next: "Check that this device is online, then try again." },
  TIMEOUT: { what: "The relay did not answer in time", next: "Check that this device is online, then try again." },
  WRONG_APP: { what: "These words belong to another app", next: "Use them in the app that made them." },
  ALREADY_IN_GROUP: {
    what: "This device already shares its data with others",
    next: "Come back on a device that is new, or start fresh on this one first.",
  },
  ADDRESS_INVALID: { what: "This is no relay's address", next: "Copy it from your paper, or leave it empty for the app's own." },
  COMMIT_REJECTED: { what: "Your devices did not take the new kit", next: "The one that you had is as good as it was. Try again." },
  NOT_PERMITTED: {
    what: "This window of the app may not do that",
    next: "Use the app's main window. For the developer: its capability lacks “0ksync:admin”.",
  },
};

/** The words for an error around a recovery kit. */
export function kitWords(error: unknown): Words {
  return (error instanceof SyncError && BY_KIT[error.code]) || wordsFor(error);
}

/** Whether a text is meant as a short code and not as a link. */
export function isCode(text: string): boolean {
  return /^\s*\d/.test(text);
}

/** What no second attempt mends: something has to be done elsewhere first. */
const FINAL: ReadonlySet<string> = new Set(["REMOVED", "VERSION", "SUITE", "NOT_PERMITTED", "NOT_INSTALLED"]);

/** Whether trying again would end in the same error. */
export function isFinal(code: string): boolean {
  return FINAL.has(code);
}

/** The words for an error; the plugin's own where this package has none. */
export function wordsFor(error: unknown, byCode = false): Words {
  const code = error instanceof SyncError ? error.code : "INTERNAL";
  const known = (byCode && BY_CODE[code]) || WORDS[code];
  if (known) return known;
  const details = error instanceof SyncError ? error.details : undefined;
  const reason = details?.reason ?? "Something went wrong";
  return {
    what: reason.charAt(0).toUpperCase() + reason.slice(1),
    next: details?.nextStep ?? "Try again. If it stays, report it to whoever made the app.",
  };
}

/** Milliseconds as m:ss, rounded up: at 0:00 the time is over. */
export function clock(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

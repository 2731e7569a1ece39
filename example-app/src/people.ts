import type { Awareness } from "y-protocols/awareness";

/** What each window tells the other devices about itself, beside its cursor. */
export interface User {
  /** The device's id. */
  device: string;
  name: string;
  color: string;
  /** For selected text. */
  colorLight: string;
}

/** A device that is here now. */
export interface Person extends User {
  /** The notes that it has open. */
  notes: Set<string>;
  own: boolean;
}

/** White text is readable on each of them, and they are told apart side by side. */
const COLORS = ["#0b6e99", "#a6431c", "#6d4aa8", "#1f7a4d", "#a02b62", "#5b6b12", "#3b57c4", "#8a5a00"] as const;

/** All that a window says of itself has to fit in the kilobyte that presence carries. */
const NAME = 64;

/** What this window says of itself. The colour follows from the device, and so is the same everywhere. */
export function user(device: string, name: string): User {
  let sum = 0;
  for (const character of device) sum = (sum * 31 + character.charCodeAt(0)) >>> 0;
  const color = COLORS[sum % COLORS.length] ?? COLORS[0];
  return { device, name: name.slice(0, NAME), color, colorLight: `${color}4d` };
}

/**
 * Who is here, one for each device: a device with two windows is here once. What other devices say is looked at before
 * it is believed, as theirs may be another version of this app.
 */
export function people(states: Iterable<unknown>, own: string | undefined): Person[] {
  const found = new Map<string, Person>();
  for (const state of states) {
    const said = read(state);
    if (!said) continue;
    const person = found.get(said.user.device) ?? { ...said.user, notes: new Set(), own: said.user.device === own };
    if (said.note !== undefined) person.notes.add(said.note);
    found.set(person.device, person);
  }
  return [...found.values()].sort((a, b) => Number(b.own) - Number(a.own) || a.name.localeCompare(b.name));
}

/** {@link people} of an awareness. Own is what this window has said of itself. */
export function present(awareness: Awareness): Person[] {
  return people(awareness.getStates().values(), read(awareness.getLocalState())?.user.device);
}

function read(state: unknown): { user: User; note: string | undefined } | undefined {
  if (!isRecord(state) || !isRecord(state["user"])) return undefined;
  const { device, name } = state["user"];
  if (typeof device !== "string" || typeof name !== "string") return undefined;
  const note = state["note"];
  // The colour is taken from the device, not from what was said: a style from elsewhere has no business in this page.
  return { user: user(device, name), note: typeof note === "string" ? note : undefined };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

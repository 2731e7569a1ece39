/** What the list shows of a note, derived from its text. */
export interface Digest {
  /** The first line that says something; empty if none does. */
  title: string;
  /** The beginning of what follows. */
  snippet: string;
}

const TITLE = 80;
const SNIPPET = 120;

/** The title and first words of a note. A heading's `#` belongs to the writing, not to the title. */
export function digest(body: string): Digest {
  const lines = body.split("\n").map((line) => line.trim());
  const first = lines.findIndex((line) => line !== "");
  if (first < 0) return { title: "", snippet: "" };
  const title = (lines[first] ?? "").replace(/^#+\s+/, "");
  const rest = lines.slice(first + 1).filter((line) => line !== "");
  return { title: shorten(title, TITLE), snippet: shorten(rest.join(" "), SNIPPET) };
}

/** Cuts between characters as people see them, not within one. */
function shorten(text: string, length: number): string {
  if (text.length <= length) return text;
  // Nobody's title is looked through to its end; a family of four with skin tones has 11 code units.
  const beginning = text.slice(0, length * 12);
  const characters = Array.from(new Intl.Segmenter().segment(beginning), (part) => part.segment);
  if (characters.length <= length && beginning === text) return text;
  return `${characters
    .slice(0, length - 1)
    .join("")
    .trimEnd()}…`;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** When something was, as people say it. The clocks of other devices may be ahead: what is to come is now. */
export function ago(then: number, now: number, locale?: string): string {
  const past = Math.max(0, now - then);
  if (past < MINUTE) return "now";
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
  if (past < HOUR) return format.format(-Math.floor(past / MINUTE), "minute");
  if (past < DAY) return format.format(-Math.floor(past / HOUR), "hour");
  if (past < 7 * DAY) return format.format(-Math.floor(past / DAY), "day");
  const sameYear = new Date(then).getFullYear() === new Date(now).getFullYear();
  return new Intl.DateTimeFormat(locale, {
    day: "numeric",
    month: "short",
    ...(sameYear ? {} : { year: "numeric" }),
  }).format(then);
}

/** Whether every word of the search stands in the text. */
export function matches(text: string, search: string): boolean {
  const where = text.toLocaleLowerCase();
  return search
    .toLocaleLowerCase()
    .split(/\s+/)
    .every((word) => where.includes(word));
}

/** Up to two letters that stand for a name. */
export function initials(name: string): string {
  const words = name.split(/[\s\-_.,]+/).filter((word) => word !== "");
  const letters = words.slice(0, 2).map((word) => Array.from(word)[0] ?? "");
  return letters.join("").toLocaleUpperCase() || "?";
}

/** All notes as one file that any editor opens. */
export function asMarkdown(notes: readonly { body: string; updated: number }[]): string {
  const parts = notes.map(
    (note) => `<!-- last changed ${new Date(note.updated).toISOString()} -->\n\n${note.body.trim()}\n`,
  );
  return parts.join("\n---\n\n");
}

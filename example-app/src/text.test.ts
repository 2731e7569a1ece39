import { describe, expect, it } from "vitest";

import { people, user } from "./people";
import { ago, asMarkdown, digest, initials, matches } from "./text";

describe("a note's digest", () => {
  it("takes the first line that says something, and the words after it", () => {
    expect(digest("\n  \n# Shopping\n\nmilk\n  bread ")).toEqual({ title: "Shopping", snippet: "milk bread" });
    expect(digest(" \n")).toEqual({ title: "", snippet: "" });
  });

  it("cuts long lines between characters, not within one", () => {
    const { title } = digest("👩‍👩‍👧‍👦".repeat(100));
    expect(title.endsWith("👩‍👩‍👧‍👦…")).toBe(true);
    expect(digest("é".repeat(80)).title).toHaveLength(80);
  });
});

describe("times in words", () => {
  const now = Date.UTC(2026, 5, 15, 12);
  const minutes = (count: number): string => ago(now - count * 60_000, now, "en");

  it("grow coarser with age, and what is to come is now", () => {
    expect(minutes(-5)).toBe("now");
    expect(minutes(0.9)).toBe("now");
    expect(minutes(3)).toBe("3 min. ago");
    expect(minutes(125)).toBe("2 hr. ago");
    expect(minutes(24 * 60)).toBe("yesterday");
    expect(minutes(30 * 24 * 60)).toBe("May 16");
    expect(minutes(400 * 24 * 60)).toBe("May 11, 2025");
  });
});

describe("search", () => {
  it("wants every word, in any case and order", () => {
    expect(matches("Milk and Bread", "bread milk")).toBe(true);
    expect(matches("Milk", "bread milk")).toBe(false);
    expect(matches("anything", "")).toBe(true);
  });
});

describe("names", () => {
  it("become letters", () => {
    expect([initials("Anna's laptop"), initials("pixel-9"), initials("東京"), initials(" ")]).toEqual([
      "AL",
      "P9",
      "東",
      "?",
    ]);
  });
});

describe("a copy", () => {
  it("holds every text and when it was changed", () => {
    const copy = asMarkdown([
      { body: "One\n", updated: 0 },
      { body: "Two", updated: 1000 },
    ]);
    expect(copy).toBe(
      "<!-- last changed 1970-01-01T00:00:00.000Z -->\n\nOne\n\n---\n\n<!-- last changed 1970-01-01T00:00:01.000Z -->\n\nTwo\n",
    );
  });
});

describe("who is here", () => {
  it("counts a device once, with all that it has open, and puts the own one first", () => {
    const states = [
      { user: user("b", "Laptop"), note: "1" },
      { user: user("b", "Laptop"), note: "2" },
      { user: user("a", "Desk") },
    ];
    const found = people(states, "a");
    expect(found.map((person) => [person.name, person.own, [...person.notes]])).toEqual([
      ["Desk", true, []],
      ["Laptop", false, ["1", "2"]],
    ]);
  });

  it("takes nothing that is not what it should be, and no colour from elsewhere", () => {
    const states = [
      null,
      {},
      { user: "x" },
      { user: { device: 1, name: "n" } },
      { user: { device: "b", name: "B", color: "url(x)" }, note: 7 },
    ];
    const [only, ...more] = people(states, "a");
    expect(more).toEqual([]);
    expect(only?.color).toMatch(/^#[0-9a-f]{6}$/);
    expect([...(only?.notes ?? [])]).toEqual([]);
  });
});

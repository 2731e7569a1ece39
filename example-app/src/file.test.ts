import { describe, expect, it } from "vitest";

import type { FileInfo } from "tauri-plugin-0ksync-api";

import { picture, sender, sized, stands } from "./file";

const file = (more: Partial<FileInfo> = {}): FileInfo => {
  const rest = { safeName: "a.png", position: "1", modified: "0", state: "here", bytes: null, given: true } as const;
  return { id: "f", name: "a.png", size: "10", device: "p", ...rest, ...more };
};

describe("a file's words", () => {
  it("say how large it is", () => {
    const say = (bytes: number): string => sized(bytes, "en").replace(/\s/g, " ");
    expect([0, 1, 999, 1000, 1530, 999_400, 999_900].map(say)).toEqual([
      "0 bytes",
      "1 byte",
      "999 bytes",
      "1 kB",
      "1.53 kB",
      "999 kB",
      "1 MB",
    ]);
    expect([64 * 2 ** 20, 3e9, 2 ** 44, 9e15].map(say)).toEqual(["67.1 MB", "3 GB", "17.6 TB", "9,000 TB"]);
  });

  it("say from whom it is", () => {
    const devices = [
      { id: "d", name: "Laptop", own: true },
      { id: "p", name: "Phone", own: false },
      { id: "q", name: null, own: false },
    ];
    expect(sender(file({ device: "d" }), devices)).toBe("from this device");
    expect(sender(file(), devices)).toBe("from «Phone»");
    expect(sender(file({ device: "q" }), devices)).toBe("from a device without a name");
    expect(sender(file({ device: "x" }), devices)).toBe("from a device that is not in the group any more");
  });

  it("say nothing of one that is where it should be", () => {
    expect(stands(file())).toBe("");
    expect(stands(file({ given: false }))).toBe("waits for the relay");
    expect(stands(file({ state: "missing" }))).toBe("waits for a device that has it");
    expect(stands(file({ state: "forged" }))).toContain("remove it");
  });
});

it("shows pictures that are here and not too large, and nothing else", () => {
  expect(picture(file({ name: "A.JPG" }))).toBe("image/jpeg");
  expect(picture(file({ state: "onDemand" }))).toBeUndefined();
  expect(picture(file({ size: "8000001" }))).toBeUndefined();
  for (const name of ["a.svg", "a.html", "png", "a.png.exe"]) expect(picture(file({ name }))).toBeUndefined();
});

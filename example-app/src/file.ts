import type { FileInfo } from "tauri-plugin-0ksync-api";

import { deviceName } from "./words";

const UNITS = ["kilobyte", "megabyte", "gigabyte", "terabyte"] as const;

/** How large something is, as people say it. */
export function sized(bytes: number, locale?: string): string {
  if (bytes < 1000) return bytes === 1 ? "1 byte" : `${bytes} bytes`;
  // What rounds up to a thousand is one of the next unit.
  const power = Math.min(UNITS.length, Math.floor(Math.log10(bytes * 1.0005) / 3));
  const unit = UNITS[power - 1] ?? "terabyte";
  const maximumSignificantDigits = 3;
  return new Intl.NumberFormat(locale, { style: "unit", unit, maximumSignificantDigits }).format(bytes / 1000 ** power);
}

/** Who put a file. */
export function sender(file: FileInfo, devices: readonly { id: string; name: string | null; own: boolean }[]): string {
  const device = devices.find(({ id }) => id === file.device);
  if (!device) return "from a device that is not in the group any more";
  return device.own ? "from this device" : `from ${deviceName(device.name)}`;
}

/** How far a file is, where there is something to say about it. */
export function stands(file: FileInfo): string {
  switch (file.state) {
    case "here":
      return file.given ? "" : "waits for the relay";
    case "coming":
      return "is coming";
    case "wanted":
      return "waits to be fetched";
    case "onDemand":
      return "is fetched when you save it";
    case "missing":
      return "waits for a device that has it";
    case "forged":
      return "is not what its sender said: remove it";
  }
}

/** Pictures that every webview shows, by the ending of their name. */
const PICTURES: Readonly<Record<string, string>> = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
};

/** How large a picture may be that is shown small, in bytes. */
const SHOWN = 8_000_000;

/** What kind of picture a file is, if it is one that is worth reading for a look at it. */
export function picture(file: FileInfo): string | undefined {
  if (file.state !== "here" || Number(file.size) > SHOWN) return undefined;
  const ending = /\.([^.]+)$/.exec(file.name)?.[1]?.toLowerCase() ?? "";
  return PICTURES[ending];
}

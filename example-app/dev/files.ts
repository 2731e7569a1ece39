import type { FileInfo } from "tauri-plugin-0ksync-api";

const file = (id: string, name: string, size: number, more: Partial<FileInfo> = {}): FileInfo => {
  const rest = { position: "1", modified: "0", state: "here", bytes: null, given: true } as const;
  return { id, name, safeName: name, size: String(size), device: "77cc99aa", ...rest, ...more };
};

/** One file in each state that a list shows. */
export const files: FileInfo[] = [
  file("1", "Altered.zip", 120_000, { state: "forged", device: "5151eefa" }),
  file("2", "Old invoice.pdf", 88_000, { state: "missing", device: "no longer here" }),
  file("3", "Every photograph of the summer, with those that nobody will ever look at again.tar", 31_000_000_000, { state: "onDemand" }),
  file("4", "Recipes.epub", 6_200_000, { state: "wanted", device: "5151eefa" }),
  file("5", "Film.mkv", 740_000_000, { state: "coming", bytes: "310000000" }),
  file("6", "Minutes.pdf", 240_000, { device: "0a1b2c3d", given: false }),
  file("7", "Hut.png", 1_900_000),
];

/** A picture for those whose name says that they are one. */
export async function look(): Promise<Uint8Array<ArrayBuffer>> {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 96;
  const context = canvas.getContext("2d");
  if (context) {
    const sky = context.createLinearGradient(0, 0, 0, 96);
    sky.addColorStop(0, "#7fb2d9");
    sky.addColorStop(1, "#f4d9a8");
    context.fillStyle = sky;
    context.fillRect(0, 0, 96, 96);
    context.fillStyle = "#3d5a3c";
    context.fillRect(0, 66, 96, 30);
  }
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/png"));
  return new Uint8Array(await (blob ?? new Blob()).arrayBuffer());
}

import { listen, TauriEvent } from "@tauri-apps/api/event";

/** Hears of files that a person drops onto the window, by their paths. The plugin lets this window put just these. */
export async function listenForDrops(drop: (paths: string[]) => void): Promise<void> {
  const { dataset } = document.documentElement;
  const over = (): void => void delete dataset["dropping"];
  await listen<{ paths: string[] }>(TauriEvent.DRAG_ENTER, ({ payload }) => {
    // What is dragged within the page has no paths.
    if (payload.paths.length > 0) dataset["dropping"] = "";
  });
  await listen(TauriEvent.DRAG_LEAVE, over);
  await listen<{ paths: string[] }>(TauriEvent.DRAG_DROP, ({ payload }) => {
    over();
    if (payload.paths.length > 0) drop(payload.paths);
  });
}

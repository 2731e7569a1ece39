import { invoke } from "@tauri-apps/api/core";

import type { Notes } from "./notes";
import { asMarkdown } from "./text";

/**
 * Writes all notes into a file that any editor opens, and says where it is. A command of this app does it (`src-tauri`),
 * as not every webview can save a file.
 */
export async function saveCopy(notes: Notes): Promise<string> {
  const list = notes.list();
  if (list.length === 0) return "There is no note to save.";
  const path = await invoke<string>("save_copy", {
    text: asMarkdown(list.map((note) => ({ body: note.text, updated: note.updated }))),
  });
  return `${list.length === 1 ? "One note is" : `${list.length} notes are`} in ${path}`;
}

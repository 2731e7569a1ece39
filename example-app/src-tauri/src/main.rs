//! 0k Notes: shared notes, the example app of 0k-Sync.
//!
//! `KSYNC_RELAY` is the relay's address and `KSYNC_NAME` what this device is called, if they are set: for trying two devices
//! side by side.

#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tauri::{AppHandle, Manager};
use tauri_plugin_0ksync::KsyncExt;
use tauri_plugin_0ksync::sync_client::{BlobId, Code, safe_file_name};

/// For how long a file that is to be saved may not come on.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many names a file that is to be saved is given up for because something else took them meanwhile.
const TAKEN: usize = 10;

fn main() {
    let mut plugin = tauri_plugin_0ksync::Builder::new().kit_snapshots(true);
    if let Ok(relay) = std::env::var("KSYNC_RELAY") {
        plugin = plugin.relay(relay);
    }
    if let Ok(name) = std::env::var("KSYNC_NAME") {
        plugin = plugin.device_name(name);
    }
    let app =
        tauri::Builder::default().plugin(plugin.build()).invoke_handler(tauri::generate_handler![save_copy, save_file]);
    if let Err(error) = app.run(tauri::generate_context!()) {
        panic!("0k Notes does not run: {error}");
    }
}

/// Writes a copy of the notes among the person's downloads, and says where. The page can choose neither place nor name.
#[tauri::command]
async fn save_copy(app: AppHandle, text: String) -> Result<PathBuf, String> {
    let folder = downloads(&app)?;
    let write = move || write_new(&folder, text.as_bytes());
    let written = tauri::async_runtime::spawn_blocking(write).await.map_err(|e| e.to_string())?;
    written.map_err(|e| format!("the file cannot be written: {e}"))
}

/// Writes a file of the group among the person's downloads, and says where. Which file is all that the page chooses.
#[tauri::command]
async fn save_file(app: AppHandle, id: String) -> Result<PathBuf, String> {
    let id: BlobId = id.parse().map_err(|_| "this is no file's id")?;
    let folder = downloads(&app)?;
    let files = app.ksync().client().await.map_err(|e| e.to_string())?.files();
    let name = safe_file_name(&files.info(id).await.map_err(|e| e.to_string())?.name);
    std::fs::create_dir_all(&folder).map_err(|e| format!("the folder for downloads cannot be made: {e}"))?;
    let mut taken = 0;
    loop {
        let path = free(&folder, &name);
        match files.get_new(id, &path, PATIENCE, |_, _| ()).await {
            Ok(()) => return Ok(path),
            // Something is there since it was looked for: the next number.
            Err(error) if error.code == Code::InvalidArgument && taken < TAKEN => taken += 1,
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Where the person's downloads are.
fn downloads(app: &AppHandle) -> Result<PathBuf, String> {
    app.path().download_dir().or_else(|_| app.path().home_dir()).map_err(|e| e.to_string())
}

/// The name as it is, or with a number, so that nothing is there yet.
fn free(folder: &Path, name: &str) -> PathBuf {
    let mut number = 1;
    loop {
        let path = folder.join(numbered(name, number));
        if path.symlink_metadata().is_err() {
            return path;
        }
        number += 1;
    }
}

/// A name with a number from 2 on, in front of its ending.
fn numbered(name: &str, number: u32) -> String {
    match name.rsplit_once('.') {
        _ if number == 1 => name.to_owned(),
        Some((stem, ending)) if !stem.is_empty() => format!("{stem} {number}.{ending}"),
        _ => format!("{name} {number}"),
    }
}

/// Writes to a file that was not there before.
fn write_new(folder: &Path, bytes: &[u8]) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let mut number = 1;
    loop {
        let path = folder.join(numbered("0k Notes.md", number));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(bytes)?;
                file.sync_all()?;
                return Ok(path);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_gets_a_name_that_nothing_has() {
        let folder = std::env::temp_dir().join(format!("ksync-notes-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, second) in [("a.tar.gz", "a.tar 2.gz"), ("plain", "plain 2")] {
            assert_eq!(free(&folder, name), folder.join(name));
            std::fs::write(folder.join(name), "x").unwrap();
            assert_eq!(free(&folder, name), folder.join(second));
        }
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(numbered(".hidden", 3), ".hidden 3");
    }
}

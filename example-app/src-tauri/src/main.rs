//! 0k Notes: shared notes, the example app of 0k-Sync.
//!
//! `KSYNC_RELAY` is the relay's address and `KSYNC_NAME` what this device is called, if they are set: for trying two devices
//! side by side.

#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tauri::{AppHandle, Manager};

fn main() {
    let mut plugin = tauri_plugin_0ksync::Builder::new().kit_snapshots(true);
    if let Ok(relay) = std::env::var("KSYNC_RELAY") {
        plugin = plugin.relay(relay);
    }
    if let Ok(name) = std::env::var("KSYNC_NAME") {
        plugin = plugin.device_name(name);
    }
    let app = tauri::Builder::default().plugin(plugin.build()).invoke_handler(tauri::generate_handler![save_copy]);
    if let Err(error) = app.run(tauri::generate_context!()) {
        panic!("0k Notes does not run: {error}");
    }
}

/// Writes a copy of the notes among the person's downloads, and says where. The page can choose neither place nor name.
#[tauri::command]
async fn save_copy(app: AppHandle, text: String) -> Result<PathBuf, String> {
    let folder = app.path().download_dir().or_else(|_| app.path().home_dir()).map_err(|e| e.to_string())?;
    let write = move || write_new(&folder, text.as_bytes());
    let written = tauri::async_runtime::spawn_blocking(write).await.map_err(|e| e.to_string())?;
    written.map_err(|e| format!("the file cannot be written: {e}"))
}

/// Writes to a file that was not there before.
fn write_new(folder: &Path, bytes: &[u8]) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let mut number = 1;
    loop {
        let name = if number == 1 { "0k Notes.md".to_owned() } else { format!("0k Notes {number}.md") };
        let path = folder.join(name);
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

//! Writes a permission for each command, and tells Tauri where the script of `withGlobalTauri` is.

/// Every command that a webview can call. `plugin/src/lib.rs` handles the same ones.
const COMMANDS: &[&str] = &[
    "ack",
    "devices",
    "doctor",
    "handler_failed",
    "invite",
    "join",
    "leave",
    "listen",
    "make_recovery_kit",
    "pairing_cancel",
    "pairing_check",
    "pairing_consent",
    "presence",
    "push",
    "recover",
    "remove_device",
    "request_join",
    "reset",
    "snapshot",
    "status",
    "subscribe",
    "unlisten",
    "unsubscribe",
    "wait",
];

fn main() {
    tauri_plugin::Builder::new(COMMANDS).global_api_script_path("guest-js/api-iife.js").build();
}

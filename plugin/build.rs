//! Writes a permission for each command, and tells Tauri where the script of `withGlobalTauri` is.

/// Every command that a webview can call. `plugin/src/lib.rs` handles the same ones.
const COMMANDS: &[&str] = &[
    "ack",
    "devices",
    "doctor",
    "give_up_first_relay",
    "handler_failed",
    "invite",
    "join",
    "leave",
    "listen",
    "pairing_cancel",
    "pairing_check",
    "pairing_consent",
    "presence",
    "push",
    "remove_device",
    "request_join",
    "reset",
    "set_relays",
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

//! Writes a permission for each command, and tells Tauri where the script of `withGlobalTauri` is.

/// Every command that a webview can call. `plugin/src/lib.rs` handles the same ones.
const COMMANDS: &[&str] = &[
    "ack",
    "background",
    "backup_cancel",
    "backup_export",
    "backup_import",
    "alerts",
    "alerts_seen",
    "devices",
    "doctor",
    "foreground",
    "give_up_first_relay",
    "handler_failed",
    "invite",
    "join",
    "leave",
    "listen",
    "make_recovery_kit",
    "move_to_suite",
    "pairing_cancel",
    "pairing_check",
    "pairing_consent",
    "presence",
    "push",
    "recover",
    "remove_device",
    "request_join",
    "reset",
    "set_relays",
    "set_vault",
    "set_wake_target",
    "snapshot",
    "status",
    "subscribe",
    "unlisten",
    "unlock",
    "unsubscribe",
    "wait",
    "wake",
    "wake_key",
];

fn main() {
    tauri_plugin::Builder::new(COMMANDS).global_api_script_path("guest-js/api-iife.js").build();
}

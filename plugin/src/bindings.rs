//! The TypeScript of the commands and their types, for `guest-js/bindings.ts`.

use tauri_specta::collect_commands;

use crate::commands::{data, files, group, lifecycle, pairing, recovery, vault};
use crate::subscription_types::{SubscribeOptions, SubscriptionInfo};
use crate::types::{ReceiptInfo, SnapshotInfo};

/// Every command whose arguments are JSON. `push`, `presence`, `subscribe`, `file_put_bytes` and `file_read` move raw bytes, which
/// have no type there; the façade calls them by hand.
pub fn builder() -> tauri_specta::Builder<tauri::Wry> {
    tauri_specta::Builder::new()
        .plugin_name("0ksync")
        .error_handling(tauri_specta::ErrorHandlingMode::Throw)
        .disable_serde_phases()
        .commands(collect_commands![
            data::wait,
            data::skip,
            data::ack::<tauri::Wry>,
            data::handler_failed::<tauri::Wry>,
            data::unsubscribe::<tauri::Wry>,
            data::listen::<tauri::Wry>,
            data::unlisten::<tauri::Wry>,
            group::status,
            group::doctor,
            group::devices,
            group::alerts,
            group::alerts_seen,
            group::remove_device,
            group::set_relays,
            group::give_up_first_relay,
            group::move_to_suite,
            group::leave,
            group::reset,
            lifecycle::foreground,
            lifecycle::background,
            lifecycle::wake,
            lifecycle::set_wake_target,
            lifecycle::wake_key,
            pairing::invite::<tauri::Wry>,
            pairing::join::<tauri::Wry>,
            pairing::request_join::<tauri::Wry>,
            pairing::pairing_check::<tauri::Wry>,
            pairing::pairing_consent::<tauri::Wry>,
            pairing::pairing_cancel::<tauri::Wry>,
            vault::unlock,
            vault::set_vault,
            vault::backup_export::<tauri::Wry>,
            vault::backup_import::<tauri::Wry>,
            vault::backup_cancel::<tauri::Wry>,
            recovery::make_recovery_kit,
            recovery::recover,
            files::file_put::<tauri::Wry>,
            files::file_get::<tauri::Wry>,
            files::file_wait_given::<tauri::Wry>,
            files::file_cancel::<tauri::Wry>,
            files::file_list,
            files::file_remove,
            files::file_policy,
            files::file_set_policy,
        ])
        .typ::<ReceiptInfo>()
        .typ::<SnapshotInfo>()
        .typ::<SubscribeOptions>()
        .typ::<SubscriptionInfo>()
}

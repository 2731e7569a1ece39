//! A build that knows no keychain.

use sync_core::vault::VaultKey;
use sync_types::Code;

use crate::SyncError;

fn none() -> SyncError {
    SyncError::new(Code::KeychainMissing, "this build knows no keychain")
}

pub(super) fn may_answer() -> bool {
    false
}

pub(super) async fn get(_: [u8; 16]) -> Result<VaultKey, SyncError> {
    Err(none())
}

pub(super) async fn put(_: [u8; 16], _: &VaultKey) -> Result<(), SyncError> {
    Err(none())
}

pub(super) async fn delete(_: [u8; 16]) -> Result<(), SyncError> {
    Err(none())
}

//! Deriving keys from passphrases: how dear, and on a thread of its own.

use sync_core::vault::{Kdf, VaultError};
use sync_types::Code;

use crate::SyncError;
use crate::clock::random;

/// How a new passphrase is derived, with this much memory or by what the machine has to spare.
pub(crate) fn kdf(memory_mib: Option<u64>) -> Kdf {
    Kdf::for_memory(memory_mib.unwrap_or_else(available_mib), random())
}

/// Does what takes some tenths of a second, and much memory, where it holds nobody up.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, SyncError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| SyncError::new(Code::Internal, "deriving the passphrase's key has failed"))??)
}

/// What the machine has to spare. Where nobody says, as much as a present computer has.
fn available_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(if cfg!(any(target_os = "android", target_os = "ios")) { 512 } else { 4096 }, |kib| kib / 1024)
}

//! The system's keychain on Linux: the Secret Service, which GNOME, KDE and KeePassXC have, over the session bus.
//!
//! Each call has a thread and a time of its own: a keychain may ask a person, and where nobody is it may never answer. What it
//! gives crosses the bus as it is: who can listen there is the same user, and can ask for it as well.

use std::collections::HashMap;
use std::time::Duration;

use dbus_secret_service::{EncryptionType, Error, Item, SecretService};
use sync_core::vault::VaultKey;
use sync_types::Code;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::SyncError;

/// How long a person has for unlocking the keychain, in seconds.
const PATIENCE: u64 = 60;
/// How long it has for taking a key that may lie elsewhere as well.
const PATIENCE_TO_PUT: u64 = 10;
/// How much longer it may take to say so.
const MORE: u64 = 5;

const LABEL: &str = "0k-Sync: key of a device";

/// Whether it makes sense to ask at all: without a session bus nobody answers.
pub(super) fn may_answer() -> bool {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    named("DBUS_SESSION_BUS_ADDRESS").is_some()
        || named("XDG_RUNTIME_DIR").is_some_and(|folder| std::path::Path::new(&folder).join("bus").exists())
}

/// What the keychain holds under this name.
pub(super) async fn get(entry: [u8; 16]) -> Result<VaultKey, SyncError> {
    let secret =
        ask(PATIENCE, move |service| find(service, entry, |item| item.get_secret().map(Zeroizing::new))).await?;
    VaultKey::from_slice(&secret)
        .ok_or_else(|| SyncError::new(Code::VaultDamaged, "what the keychain holds for this home is no key"))
}

/// Puts a key there, and sees that it can be had again.
pub(super) async fn put(entry: [u8; 16], key: &VaultKey) -> Result<(), SyncError> {
    let key = key.clone();
    let put = move |service: &SecretService| {
        let collection = service.get_default_collection()?;
        if collection.is_locked()? {
            collection.unlock()?;
        }
        let name = name(entry);
        collection.create_item(LABEL, attributes(&name), key.as_bytes(), true, "application/octet-stream")?;
        let kept = find(service, entry, |item| item.get_secret().map(Zeroizing::new))?;
        if kept.as_slice() == key.as_bytes() { Ok(()) } else { Err(Error::NoResult) }
    };
    ask(PATIENCE_TO_PUT, put).await
}

/// Takes a key away. One that is not there is as good.
pub(super) async fn delete(entry: [u8; 16]) -> Result<(), SyncError> {
    let delete = move |service: &SecretService| match find(service, entry, |item| item.delete()) {
        Err(Error::NoResult) => Ok(()),
        done => done,
    };
    ask(PATIENCE_TO_PUT, delete).await
}

fn name(entry: [u8; 16]) -> String {
    data_encoding::HEXLOWER.encode(&entry)
}

fn attributes(name: &str) -> HashMap<&str, &str> {
    HashMap::from([("service", "0ksync"), ("username", name)])
}

/// Does something with the entry, unlocked.
fn find<T>(
    service: &SecretService,
    entry: [u8; 16],
    work: impl FnOnce(&Item<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let found = service.search_items(attributes(&name(entry)))?;
    if let Some(item) = found.unlocked.first() {
        return work(item);
    }
    let item = found.locked.first().ok_or(Error::NoResult)?;
    item.unlock()?;
    work(item)
}

async fn ask<T: Send + 'static>(
    seconds: u64,
    work: impl FnOnce(&SecretService) -> Result<T, Error> + Send + 'static,
) -> Result<T, SyncError> {
    if !may_answer() {
        return Err(SyncError::new(Code::KeychainMissing, "there is no session bus, and so no keychain"));
    }
    let (reply, answer) = oneshot::channel();
    std::thread::spawn(move || {
        let service = SecretService::connect_with_max_prompt_timeout(EncryptionType::Plain, seconds);
        // Nobody waits any more, if that took too long.
        let _ = reply.send(service.and_then(|service| work(&service)).map_err(failed));
    });
    match tokio::time::timeout(Duration::from_secs(seconds + MORE), answer).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(SyncError::new(Code::KeychainMissing, "asking the keychain has failed")),
        Err(_) => Err(SyncError::new(Code::KeychainLocked, "the keychain is locked, and nobody has unlocked it")),
    }
}

fn failed(error: Error) -> SyncError {
    match error {
        Error::NoResult => SyncError::new(Code::KeychainEntryGone, "the keychain has no key for this home"),
        Error::Locked | Error::Prompt => SyncError::new(Code::KeychainLocked, "the keychain is locked"),
        Error::Dbus(error) => SyncError::new(Code::KeychainMissing, format!("no keychain answers ({error})")),
        // Others may hold what was stored.
        _ => SyncError::new(Code::KeychainMissing, "no keychain answers"),
    }
}

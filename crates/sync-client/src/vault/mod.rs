//! Where the key lies that seals this home's data: in the system's keychain, under a passphrase, or in a file.
//!
//! The file `vault` of a home holds the vault key under a lock (sync-core, `vault`). Going over to another lock writes that file
//! anew and no row. It is written beside the old one and put in its place, so that a crash leaves the one or the other.

#[cfg_attr(not(all(feature = "keychain", target_os = "linux")), path = "no_keychain.rs")]
mod keychain;
mod passphrase;
mod sealing;

use std::io::ErrorKind;
use std::str::FromStr;

use sync_core::vault::{Kind, Lock, LockedKey, Unlock, VaultError, VaultKey};
use sync_types::Code;
use tokio::sync::Mutex;

pub use sync_core::vault::Passphrase;

pub(crate) use passphrase::{apart, kdf};
pub(crate) use sealing::Sealing;

use crate::clock::random;
use crate::home::{Home, VAULT};
use crate::{SyncConfig, SyncError};

/// Where the key lies that seals a home's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VaultKind {
    /// In the system's keychain, which the person's login opens: on Linux the Secret Service. Other systems have none here yet.
    Keychain,
    /// Under a passphrase, which somebody gives at each start.
    Passphrase,
    /// In a file of the home that only its owner can read: whoever gets that file reads everything.
    KeyFile,
}

impl VaultKind {
    /// As in configurations and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keychain => "keychain",
            Self::Passphrase => "passphrase",
            Self::KeyFile => "file",
        }
    }

    fn of(lock: &Lock) -> Self {
        match lock {
            Lock::Keychain(_) => Self::Keychain,
            Lock::Passphrase(_) => Self::Passphrase,
            Lock::KeyFile(_) => Self::KeyFile,
        }
    }
}

impl FromStr for VaultKind {
    type Err = SyncError;

    fn from_str(text: &str) -> Result<Self, SyncError> {
        [Self::Keychain, Self::Passphrase, Self::KeyFile]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| SyncError::new(Code::InvalidArgument, "a vault is 'keychain', 'passphrase' or 'file'"))
    }
}

impl From<VaultError> for SyncError {
    fn from(error: VaultError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// A home's vault while it is open.
pub(crate) struct Vault {
    key: VaultKey,
    id: [u8; 16],
    sealing: Sealing,
    lock: Mutex<Lock>,
    memory_mib: Option<u64>,
}

impl Vault {
    /// Opens the home's vault, or makes one if the home has none and no database that is sealed by one.
    ///
    /// # Errors
    /// Nothing is changed on an error. Those of the module [`sync_core::vault`]; [`Code::KeychainMissing`],
    /// [`Code::KeychainLocked`], [`Code::KeychainEntryGone`]; [`Code::VaultDamaged`] if the database was sealed by another one.
    pub(crate) async fn open(home: &Home, config: &SyncConfig, sealed_by: Option<[u8; 16]>) -> Result<Self, SyncError> {
        let stored = match std::fs::read(home.file(VAULT)) {
            Ok(bytes) => Some(zeroize::Zeroizing::new(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(SyncError::io("read", &home.file(VAULT), &e)),
        };
        let (locked, key) = match (stored, sealed_by) {
            (Some(bytes), _) => {
                let locked = LockedKey::parse(Kind::Vault, &bytes)?;
                if sealed_by.is_some_and(|id| id != locked.id()) {
                    return Err(SyncError::new(Code::VaultDamaged, "the vault file is of another home"));
                }
                let key = unlock(&locked, config.passphrase.as_ref()).await?;
                (locked, key)
            }
            (None, Some(_)) => return Err(SyncError::new(Code::VaultDamaged, "the vault file is gone")),
            (None, None) => {
                let (id, key) = (random(), VaultKey::new(random()));
                let locked = make(config, id, &key).await?;
                if let Err(error) = home.replace(VAULT, &locked.to_bytes()) {
                    drop_entry(locked.opens_by()).await;
                    return Err(error);
                }
                (locked, key)
            }
        };
        Ok(Self {
            sealing: Sealing::new(&key),
            key,
            id: locked.id(),
            lock: Mutex::new(locked.opens_by().clone()),
            memory_mib: config.passphrase_memory_mib,
        })
    }

    /// Which vault it is.
    pub(crate) fn id(&self) -> [u8; 16] {
        self.id
    }

    /// How much memory a new passphrase may cost, if anybody says.
    pub(crate) fn memory_mib(&self) -> Option<u64> {
        self.memory_mib
    }

    /// What seals values.
    pub(crate) fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    /// Where the key lies now.
    pub(crate) async fn kind(&self) -> VaultKind {
        VaultKind::of(&*self.lock.lock().await)
    }

    /// Puts the key under another lock, or another passphrase.
    pub(crate) async fn move_to(
        &self,
        home: &std::path::Path,
        kind: VaultKind,
        passphrase: Option<&Passphrase>,
    ) -> Result<(), SyncError> {
        let mut held = self.lock.lock().await;
        let locked = lock(kind, passphrase, self.memory_mib, self.id, &self.key).await?;
        if let Err(error) = crate::home::replace(home, VAULT, &locked.to_bytes()) {
            drop_entry(locked.opens_by()).await;
            return Err(error);
        }
        let before = std::mem::replace(&mut *held, locked.opens_by().clone());
        drop_entry(&before).await;
        Ok(())
    }
}

/// Forgets what a keychain holds for the home, before its vault file goes. A keychain that does not answer keeps it: alone it
/// opens nothing.
pub(crate) async fn forget(home: &Home) {
    let locked = std::fs::read(home.file(VAULT)).ok().map(zeroize::Zeroizing::new);
    if let Some(Ok(locked)) = locked.map(|bytes| LockedKey::parse(Kind::Vault, &bytes)) {
        drop_entry(locked.opens_by()).await;
    }
}

async fn drop_entry(lock: &Lock) {
    if let Lock::Keychain(entry) = lock
        && let Err(error) = keychain::delete(*entry).await
    {
        tracing::warn!(code = %error.code, "the keychain keeps a key that opens nothing any more: {}", error.message);
    }
}

async fn unlock(locked: &LockedKey, passphrase: Option<&Passphrase>) -> Result<VaultKey, SyncError> {
    match locked.opens_by() {
        Lock::Keychain(entry) => Ok(locked.open(Unlock::Keychain(&keychain::get(*entry).await?))?),
        Lock::KeyFile(_) => Ok(locked.open(Unlock::KeyFile)?),
        Lock::Passphrase(_) => {
            let passphrase = passphrase.ok_or(VaultError::PassphraseNeeded)?.clone();
            let locked = locked.clone();
            apart(move || locked.open(Unlock::Passphrase(&passphrase))).await
        }
    }
}

/// The lock of a new home: the one that is wished for, and else the first that works.
async fn make(config: &SyncConfig, id: [u8; 16], key: &VaultKey) -> Result<LockedKey, SyncError> {
    let (passphrase, memory) = (config.passphrase.as_ref(), config.passphrase_memory_mib);
    if let Some(kind) = config.vault_kind()? {
        return lock(kind, passphrase, memory, id, key).await;
    }
    if keychain::may_answer() {
        match lock(VaultKind::Keychain, None, memory, id, key).await {
            Ok(locked) => return Ok(locked),
            Err(error) => tracing::info!(code = %error.code, "the key lies in a file, since: {}", error.message),
        }
    }
    lock(VaultKind::KeyFile, None, memory, id, key).await
}

async fn lock(
    kind: VaultKind,
    passphrase: Option<&Passphrase>,
    memory_mib: Option<u64>,
    id: [u8; 16],
    key: &VaultKey,
) -> Result<LockedKey, SyncError> {
    match kind {
        VaultKind::KeyFile => {
            let lock = Lock::KeyFile(random());
            Ok(LockedKey::lock(Kind::Vault, id, lock, Unlock::KeyFile, random(), key)?)
        }
        VaultKind::Passphrase => {
            let passphrase = passphrase.ok_or(VaultError::PassphraseNeeded)?.clone();
            passphrase.fit_for_new()?;
            let (lock, key) = (Lock::Passphrase(kdf(memory_mib)), key.clone());
            apart(move || LockedKey::lock(Kind::Vault, id, lock, Unlock::Passphrase(&passphrase), random(), &key)).await
        }
        VaultKind::Keychain => {
            let (entry, kept) = (random(), VaultKey::new(random()));
            keychain::put(entry, &kept).await?;
            let lock = Lock::Keychain(entry);
            Ok(LockedKey::lock(Kind::Vault, id, lock, Unlock::Keychain(&kept), random(), key)?)
        }
    }
}

#[cfg(test)]
mod tests;

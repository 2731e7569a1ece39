//! A random key under a lock: the file `vault` of a home, and the head of a backup.

use std::fmt;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use subtle::ConstantTimeEq;
use sync_rules::defence::{Defence, stands};
use sync_rules::labelled;
use sync_types::{LABEL_PREFIX, decode, encode};
use zeroize::Zeroizing;

use super::{Kdf, Nonce, Passphrase, VaultError, VaultKey};

/// The format's version.
const FORMAT: u8 = 1;
const MAGIC: usize = 8;
const CHECKSUM: usize = 8;

/// What the key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A device's rows.
    Vault,
    /// A backup.
    Backup,
}

impl Kind {
    pub(super) const fn magic(self) -> &'static [u8; MAGIC] {
        match self {
            Self::Vault => b"0ksvault",
            Self::Backup => b"0ksbackp",
        }
    }

    /// The label of what wraps such a key.
    fn label(self) -> String {
        match self {
            Self::Vault => format!("{LABEL_PREFIX}vault key"),
            Self::Backup => format!("{LABEL_PREFIX}backup key"),
        }
    }

    fn checksum(self, bytes: &[u8]) -> [u8; CHECKSUM] {
        let hash = match self {
            Self::Vault => labelled("vault file", bytes),
            Self::Backup => labelled("backup head", bytes),
        };
        *hash.first_chunk().expect("a hash is longer")
    }

    const fn damaged(self) -> VaultError {
        match self {
            Self::Vault => VaultError::Damaged(self, "the vault file is damaged"),
            Self::Backup => VaultError::Damaged(self, "the backup is damaged, or no backup"),
        }
    }
}

/// What opens a locked key. Kinds on the disk: 1 keychain, 2 passphrase, 3 key file.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum Lock {
    /// A random key in the system's keychain, under this random name.
    Keychain([u8; 16]) = 1u8,
    /// A passphrase.
    Passphrase(Kdf) = 2u8,
    /// A random key that stands right here: whoever reads the file has it.
    KeyFile([u8; 32]) = 3u8,
}

/// Shows no key.
impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keychain(_) => f.write_str("Keychain(…)"),
            Self::Passphrase(kdf) => write!(f, "Passphrase({} KiB, {} passes)", kdf.memory_kib, kdf.passes),
            Self::KeyFile(_) => f.write_str("KeyFile(…)"),
        }
    }
}

/// What somebody brings to open a locked key, or to lock one.
#[derive(Clone, Copy, Debug)]
pub enum Unlock<'a> {
    /// What the keychain holds.
    Keychain(&'a VaultKey),
    /// What a person knows.
    Passphrase(&'a Passphrase),
    /// Nothing: the key is in the file.
    KeyFile,
}

#[derive(MlsSize, MlsEncode, MlsDecode)]
struct Head {
    magic: [u8; MAGIC],
    format: u8,
    id: [u8; 16],
    lock: Lock,
}

#[derive(MlsSize, MlsEncode, MlsDecode)]
struct Body {
    head: Head,
    nonce: [u8; 24],
    wrapped: [u8; 48],
}

/// A random key under a lock, as it is stored.
#[derive(Clone)]
pub struct LockedKey {
    kind: Kind,
    id: [u8; 16],
    lock: Lock,
    head: Zeroizing<Vec<u8>>,
    nonce: Nonce,
    wrapped: [u8; 48],
}

/// Shows neither key.
impl fmt::Debug for LockedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockedKey({:?}, {:?})", self.kind, self.lock)
    }
}

impl LockedKey {
    /// Locks a key. `id` says which vault or backup it is of, for ever. The parameters of a passphrase are taken as they are:
    /// [`LockedKey::open`] is who judges them.
    ///
    /// # Errors
    /// As [`Kdf::derive`]; [`VaultError::PassphraseNeeded`] and [`VaultError::Damaged`] if lock and key are of two kinds.
    pub fn lock(
        kind: Kind,
        id: [u8; 16],
        lock: Lock,
        with: Unlock<'_>,
        nonce: Nonce,
        key: &VaultKey,
    ) -> Result<Self, VaultError> {
        let head = Zeroizing::new(encode(&Head { magic: *kind.magic(), format: FORMAT, id, lock: lock.clone() }));
        let wrapping = wrapping_key(kind, &lock, with)?;
        let payload = Payload { msg: key.as_bytes(), aad: associated(&head) };
        let wrapped = XChaCha20Poly1305::new((&*wrapping).into())
            .encrypt((&nonce).into(), payload)
            .expect("a key is far below the cipher's limit");
        let wrapped = wrapped.try_into().expect("a key of 32 bytes and a tag of 16 are 48");
        Ok(Self { kind, id, lock, head, nonce, wrapped })
    }

    /// Which vault or backup it is of.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// What opens it.
    pub fn opens_by(&self) -> &Lock {
        &self.lock
    }

    /// The bytes as they are stored. Those of [`Lock::KeyFile`] are a secret.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new([self.head.as_slice(), &self.nonce, &self.wrapped].concat());
        let checksum = self.kind.checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Reads what [`LockedKey::to_bytes`] wrote, all of it.
    ///
    /// # Errors
    /// [`VaultError::Newer`], [`VaultError::Damaged`], [`VaultError::Parameters`].
    pub fn parse(kind: Kind, bytes: &[u8]) -> Result<Self, VaultError> {
        let damaged = || kind.damaged();
        let rest = bytes.strip_prefix(kind.magic()).ok_or_else(damaged)?;
        match rest.first() {
            Some(&FORMAT) => {}
            Some(&newer) if newer > FORMAT => return Err(VaultError::Newer(kind, newer)),
            _ => return Err(damaged()),
        }
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or_else(damaged)?;
        if !bool::from(kind.checksum(body).ct_eq(checksum)) && stands(Defence::LockedHead) {
            return Err(damaged());
        }
        let Body { head, nonce, wrapped } = decode(body).map_err(|_| damaged())?;
        match (&head.lock, kind) {
            (Lock::Passphrase(kdf), _) => kdf.check()?,
            (_, Kind::Vault) => {}
            // What a keychain holds, and a key in the open, are no protection for a file that travels.
            (_, Kind::Backup) => return Err(damaged()),
        }
        let (id, lock) = (head.id, head.lock.clone());
        Ok(Self { kind, id, lock, head: Zeroizing::new(encode(&head)), nonce, wrapped })
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`VaultError::PassphraseNeeded`], [`VaultError::WrongPassphrase`]; [`VaultError::Damaged`] if what a keychain or the
    /// file holds is not its key; as [`Kdf::derive`].
    pub fn open(&self, with: Unlock<'_>) -> Result<VaultKey, VaultError> {
        let wrapping = wrapping_key(self.kind, &self.lock, with)?;
        let payload = Payload { msg: &self.wrapped, aad: associated(&self.head) };
        let key = XChaCha20Poly1305::new((&*wrapping).into()).decrypt((&self.nonce).into(), payload);
        match (key.map(Zeroizing::new), &self.lock) {
            (Ok(key), _) => VaultKey::from_slice(&key).ok_or_else(|| self.kind.damaged()),
            (Err(_), Lock::Passphrase(_)) => Err(VaultError::WrongPassphrase),
            (Err(_), Lock::Keychain(_)) => {
                Err(VaultError::Damaged(self.kind, "what the keychain holds does not open this vault"))
            }
            (Err(_), Lock::KeyFile(_)) => Err(self.kind.damaged()),
        }
    }
}

/// What the head is authenticated as.
fn associated(head: &[u8]) -> &[u8] {
    if stands(Defence::LockedHead) { head } else { &[] }
}

fn wrapping_key(kind: Kind, lock: &Lock, with: Unlock<'_>) -> Result<Zeroizing<[u8; 32]>, VaultError> {
    let label = kind.label();
    match (lock, with) {
        (Lock::Keychain(_), Unlock::Keychain(key)) => Ok(key.derive(&label)),
        (Lock::Passphrase(kdf), Unlock::Passphrase(passphrase)) => Ok(kdf.derive(passphrase)?.derive(&label)),
        (Lock::KeyFile(key), Unlock::KeyFile) => Ok(VaultKey::new(*key).derive(&label)),
        (Lock::Passphrase(_), _) => Err(VaultError::PassphraseNeeded),
        _ => Err(VaultError::Damaged(kind, "it is locked in another way")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(lock: Lock, with: Unlock<'_>) -> LockedKey {
        LockedKey::lock(Kind::Vault, [1; 16], lock, with, [2; 24], &VaultKey::new([3; 32])).unwrap()
    }

    fn opened(bytes: &[u8], with: Unlock<'_>) -> Result<[u8; 32], VaultError> {
        LockedKey::parse(Kind::Vault, bytes)?.open(with).map(|key| *key.as_bytes())
    }

    #[test]
    fn each_lock_opens_by_its_own_key_and_no_other() {
        let (right, wrong) = (Passphrase::new("correct horse").unwrap(), Passphrase::new("correct mule").unwrap());
        let (kept, other) = (VaultKey::new([4; 32]), VaultKey::new([5; 32]));
        let by_keychain = made(Lock::Keychain([6; 16]), Unlock::Keychain(&kept)).to_bytes();
        let by_passphrase = made(Lock::Passphrase(Kdf::cheapest([7; 16])), Unlock::Passphrase(&right)).to_bytes();
        let by_file = made(Lock::KeyFile([8; 32]), Unlock::KeyFile).to_bytes();
        for (bytes, with) in [
            (&by_keychain, Unlock::Keychain(&kept)),
            (&by_passphrase, Unlock::Passphrase(&right)),
            (&by_file, Unlock::KeyFile),
        ] {
            assert_eq!(opened(bytes, with), Ok([3; 32]));
        }
        let code = |bytes, with| opened(bytes, with).unwrap_err().code();
        use sync_types::Code;
        assert_eq!(code(&by_keychain, Unlock::Keychain(&other)), Code::VaultDamaged);
        assert_eq!(code(&by_passphrase, Unlock::Passphrase(&wrong)), Code::WrongPassphrase);
        assert_eq!(code(&by_passphrase, Unlock::KeyFile), Code::PassphraseNeeded);
        assert_eq!(code(&by_file, Unlock::Passphrase(&right)), Code::VaultDamaged);
    }

    #[test]
    fn whatever_is_changed_or_cut_off_is_refused() {
        let bytes = made(Lock::KeyFile([8; 32]), Unlock::KeyFile).to_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            opened(&changed, Unlock::KeyFile).unwrap_err();
            opened(&bytes[..at], Unlock::KeyFile).unwrap_err();
            // Whoever mends the checksum gets no further.
            if at < bytes.len() - CHECKSUM {
                let (body, _) = changed.split_last_chunk::<CHECKSUM>().unwrap();
                let mended = [body, &Kind::Vault.checksum(body)].concat();
                opened(&mended, Unlock::KeyFile).unwrap_err();
            }
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        opened(&longer, Unlock::KeyFile).unwrap_err();
        let mut newer = bytes.to_vec();
        newer[MAGIC] = 2;
        assert_eq!(opened(&newer, Unlock::KeyFile), Err(VaultError::Newer(Kind::Vault, 2)));
    }

    #[test]
    fn a_backup_is_locked_by_a_passphrase_alone_and_no_vault_is_one() {
        let key = VaultKey::new([3; 32]);
        let lock = Lock::KeyFile([8; 32]);
        let file = LockedKey::lock(Kind::Backup, [1; 16], lock, Unlock::KeyFile, [2; 24], &key).unwrap();
        assert_eq!(LockedKey::parse(Kind::Backup, &file.to_bytes()).unwrap_err(), Kind::Backup.damaged());
        assert_eq!(LockedKey::parse(Kind::Vault, &file.to_bytes()).unwrap_err(), Kind::Vault.damaged());
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let shown = format!("{:?}", made(Lock::KeyFile([200; 32]), Unlock::KeyFile));
        assert!(!shown.contains("200"), "{shown}");
    }
}

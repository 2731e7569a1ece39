//! Why a vault or a backup stays shut.

use sync_types::Code;

use super::Kind;

/// Why a vault or a backup stays shut. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// It is locked by a passphrase, and none was given.
    #[error("it is locked by a passphrase")]
    PassphraseNeeded,
    /// The passphrase is not the one that it was locked with.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// It is not what this build or any other writes.
    #[error("{1}")]
    Damaged(Kind, &'static str),
    /// Its key derivation is cheaper than any build makes it, or dearer than any build does.
    #[error("its passphrase is derived with {memory_kib} KiB and {passes} passes, which no build writes")]
    Parameters {
        /// The memory that is asked for, in KiB.
        memory_kib: u32,
        /// How often it is gone through.
        passes: u8,
    },
    /// A newer build wrote it.
    #[error("it was written by a newer build (format {1})")]
    Newer(Kind, u8),
    /// A backup that ends before its end.
    #[error("the backup ends early")]
    Truncated,
    /// A passphrase that cannot be used.
    #[error("{0}")]
    Unfit(&'static str),
    /// The memory that the passphrase's derivation takes is not there.
    #[error("there is no memory for deriving the passphrase")]
    Memory,
}

impl VaultError {
    /// The code that a caller sees.
    pub const fn code(&self) -> Code {
        match self {
            Self::PassphraseNeeded => Code::PassphraseNeeded,
            Self::WrongPassphrase => Code::WrongPassphrase,
            Self::Damaged(Kind::Vault, _) => Code::VaultDamaged,
            Self::Damaged(Kind::Backup, _) => Code::BackupDamaged,
            Self::Parameters { .. } => Code::VaultParameters,
            Self::Newer(Kind::Vault, _) => Code::VaultNewer,
            Self::Newer(Kind::Backup, _) => Code::BackupNewer,
            Self::Truncated => Code::BackupTruncated,
            Self::Unfit(_) => Code::InvalidArgument,
            Self::Memory => Code::Internal,
        }
    }
}

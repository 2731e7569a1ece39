//! Exit codes: the one table from what went wrong to what the shell sees.

use sync_client::Code;

/// What a process that failed tells its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Nothing of the below.
    Other = 1,
    /// The arguments cannot be used.
    Usage = 2,
    /// This device is in no group, or in none any more.
    NotInGroup = 3,
    /// The relay cannot be reached, or nobody who has what is wanted.
    Unreachable = 4,
    /// Somebody said no: a person, another device, the relay, or a rule about what may be pushed.
    Refused = 5,
    /// Data is damaged, or somebody broke the protocol.
    Integrity = 6,
    /// A limit on amount or frequency.
    Quota = 7,
}

/// What the shell sees for a code. Each code is named, so that a new one cannot be forgotten.
pub(crate) const fn exit(code: Code) -> Exit {
    match code {
        Code::InvalidArgument
        | Code::AddressInvalid
        | Code::LinkInvalid
        | Code::CodeInvalid
        | Code::CodeNeedsRelay
        | Code::KitInvalid
        | Code::KitNeedsRelay
        | Code::CodeNotApproved
        | Code::Asleep
        | Code::UnknownDevice => Exit::Usage,
        Code::NotInGroup | Code::NotInitialized | Code::NotMember | Code::Removed | Code::Cloned => Exit::NotInGroup,
        Code::RelayUnreachable | Code::Draining | Code::ContentMissing => Exit::Unreachable,
        Code::AccessDenied
        | Code::TokenSpent
        | Code::UnknownGroup
        | Code::GroupExists
        | Code::StaleEpoch
        | Code::StaleCut
        | Code::Provisional
        | Code::TooLarge
        | Code::Empty
        | Code::AlreadyInGroup
        | Code::AlreadyInitialized
        | Code::PairingExpired
        | Code::PairingUsed
        | Code::PairingRefused
        | Code::WrongCode
        | Code::WrongApp
        | Code::WrongSide
        | Code::TooManyTries
        | Code::NoSuchPairing
        | Code::PassphraseNeeded
        | Code::WrongPassphrase
        | Code::KeychainLocked
        | Code::KitUnknown
        | Code::KitReplaced
        | Code::WakeUnavailable
        | Code::ContentUnavailable
        | Code::RelayAnswers => Exit::Refused,
        Code::Protocol
        | Code::BadSignature
        | Code::BrokenChain
        | Code::Equivocation
        | Code::CommitRefused
        | Code::CommitRejected
        | Code::Forked
        | Code::RolledBack
        | Code::OutOfStep
        | Code::UnknownSigner
        | Code::Withheld
        | Code::StalePeer
        | Code::SplitView
        | Code::PairingForged
        | Code::KitForged
        | Code::PastCut
        | Code::StoreCorrupt
        | Code::IdConflict
        | Code::ContentForged
        | Code::VaultDamaged
        | Code::VaultParameters
        | Code::KeychainEntryGone
        | Code::BackupDamaged
        | Code::BackupTruncated => Exit::Integrity,
        Code::Quota | Code::RateLimited | Code::TooManyConnections => Exit::Quota,
        Code::Version
        | Code::Suite
        | Code::Internal
        | Code::Timeout
        | Code::Lapsed
        | Code::HomeBusy
        | Code::DiskFull
        | Code::Io
        | Code::PortInUse
        | Code::Closed
        | Code::FileChanged
        | Code::KeychainMissing
        | Code::VaultNewer
        | Code::BackupNewer
        | Code::BackupCancelled => Exit::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table once more, as the shell sees it: whoever moves a code changes what scripts rely on, and says so here.
    const TABLE: &[(u8, &[&str])] = &[
        (1, &["VERSION", "SUITE", "INTERNAL", "TIMEOUT", "HOME_BUSY", "DISK_FULL", "IO", "PORT_IN_USE", "CLOSED"]),
        (1, &["KEYCHAIN_MISSING", "VAULT_NEWER", "BACKUP_NEWER", "BACKUP_CANCELLED"]),
        (1, &["LAPSED", "FILE_CHANGED"]),
        (2, &["LINK_INVALID", "CODE_INVALID", "CODE_NEEDS_RELAY", "CODE_NOT_APPROVED", "ADDRESS_INVALID"]),
        (2, &["UNKNOWN_DEVICE", "INVALID_ARGUMENT", "ASLEEP", "KIT_INVALID", "KIT_NEEDS_RELAY"]),
        (3, &["NOT_MEMBER", "REMOVED", "CLONED", "NOT_IN_GROUP", "NOT_INITIALIZED"]),
        (4, &["DRAINING", "RELAY_UNREACHABLE", "CONTENT_MISSING"]),
        (
            5,
            &[
                "UNKNOWN_GROUP",
                "GROUP_EXISTS",
                "ACCESS_DENIED",
                "TOKEN_SPENT",
                "TOO_LARGE",
                "EMPTY",
                "STALE_EPOCH",
                "STALE_CUT",
                "PROVISIONAL",
            ],
        ),
        (5, &["PAIRING_EXPIRED", "PAIRING_USED", "PAIRING_REFUSED", "WRONG_CODE", "WRONG_APP", "TOO_MANY_TRIES"]),
        (5, &["NO_SUCH_PAIRING", "WRONG_SIDE", "ALREADY_IN_GROUP", "ALREADY_INITIALIZED", "RELAY_ANSWERS"]),
        (5, &["PASSPHRASE_NEEDED", "WRONG_PASSPHRASE", "KEYCHAIN_LOCKED"]),
        (6, &["VAULT_DAMAGED", "VAULT_PARAMETERS", "KEYCHAIN_ENTRY_GONE", "BACKUP_DAMAGED", "BACKUP_TRUNCATED"]),
        (5, &["KIT_UNKNOWN", "KIT_REPLACED", "WAKE_UNAVAILABLE", "CONTENT_UNAVAILABLE"]),
        (6, &["KIT_FORGED", "CONTENT_FORGED"]),
        (6, &["PROTOCOL", "BAD_SIGNATURE", "BROKEN_CHAIN", "EQUIVOCATION", "COMMIT_REFUSED", "COMMIT_REJECTED"]),
        (
            6,
            &[
                "FORKED",
                "ROLLED_BACK",
                "OUT_OF_STEP",
                "UNKNOWN_SIGNER",
                "WITHHELD",
                "STALE_PEER",
                "SPLIT_VIEW",
                "PAIRING_FORGED",
                "PAST_CUT",
                "STORE_CORRUPT",
                "ID_CONFLICT",
            ],
        ),
        (7, &["QUOTA", "RATE_LIMITED", "TOO_MANY_CONNECTIONS"]),
    ];

    #[test]
    fn every_code_has_its_exit_code() {
        for code in Code::ALL {
            let rows: Vec<_> = TABLE.iter().filter(|(_, names)| names.contains(&code.as_str())).collect();
            assert_eq!(rows.len(), 1, "{code} stands in the table once");
            assert_eq!(exit(*code) as u8, rows[0].0, "{code}");
        }
        let listed: usize = TABLE.iter().map(|(_, names)| names.len()).sum();
        assert_eq!(listed, Code::ALL.len());
    }
}

//! Why a relay does not start.

use std::path::Path;

use sync_types::Code;

use crate::store::StoreError;

/// A relay that cannot start: a code for machines and a sentence for its host. It holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// What went wrong.
    pub code: Code,
    /// The same as a sentence, with the path or address that it is about.
    pub message: String,
}

impl StartError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A failure to read or write `path`; a full disk keeps its own code.
    pub(crate) fn io(what: &str, path: &Path, source: &std::io::Error) -> Self {
        let code = match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::DiskFull,
            _ => Code::Io,
        };
        Self::new(code, format!("cannot {what} {}: {source}", path.display()))
    }

    /// A failure of the store called `name`.
    pub(crate) fn store(name: impl std::fmt::Display, source: &StoreError) -> Self {
        match source {
            StoreError::Full => Self::new(Code::DiskFull, format!("the disk of {name} is full: free some space")),
            StoreError::Busy | StoreError::Stale(_) => {
                Self::new(Code::HomeBusy, format!("another process uses {name}"))
            }
            StoreError::Corrupt(reason) => Self::new(
                Code::StoreCorrupt,
                format!(
                    "{name} is damaged or no database ({reason}): keep a copy and put back a backup, or start afresh with \
                     another file; devices seed a relay that comes back empty"
                ),
            ),
            StoreError::Io(reason) => Self::new(Code::Io, format!("cannot open {name}: {reason}")),
        }
    }

    /// A failure to listen on an address; a taken port keeps its own code.
    pub(crate) fn listen(what: &str, address: std::net::SocketAddr, source: &std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::AddrInUse => Self::new(
                Code::PortInUse,
                format!("another program listens on the {what} port, {address}: stop it or choose another port"),
            ),
            _ => Self::new(Code::Io, format!("cannot listen on {address} for {what}: {source}")),
        }
    }
}

//! What went wrong with content, as callers see it.

use std::io::ErrorKind;

use sync_content::ContentError;
use sync_types::Code;

use crate::SyncError;

impl From<ContentError> for SyncError {
    fn from(error: ContentError) -> Self {
        let code = match &error {
            ContentError::TooLarge => Code::TooLarge,
            ContentError::Changed => Code::FileChanged,
            ContentError::NoRoom { .. } => Code::DiskFull,
            ContentError::Incomplete => Code::ContentMissing,
            ContentError::Dishonest(_) => Code::ContentForged,
            ContentError::Source(_) => Code::RelayUnreachable,
            ContentError::Io(source) => match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::DiskFull,
                _ => Code::Io,
            },
            _ => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_code() {
        let full = std::io::Error::from(ErrorKind::StorageFull);
        for (error, code) in [
            (ContentError::TooLarge, Code::TooLarge),
            (ContentError::Changed, Code::FileChanged),
            (ContentError::NoRoom { folder: "x".into(), wanted: 2, free: 1 }, Code::DiskFull),
            (ContentError::Incomplete, Code::ContentMissing),
            (ContentError::Dishonest("it lies"), Code::ContentForged),
            (ContentError::Source("it went".into()), Code::RelayUnreachable),
            (ContentError::Io(full), Code::DiskFull),
            (ContentError::Io(ErrorKind::PermissionDenied.into()), Code::Io),
        ] {
            assert_eq!(SyncError::from(error).code, code);
        }
    }
}

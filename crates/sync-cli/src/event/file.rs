//! A file, for programs.

use serde::Serialize;
use sync_client::FileInfo;

use super::Event;

/// A file, and how far it is.
#[derive(Serialize)]
pub(crate) struct File<'a> {
    id: String,
    name: &'a str,
    size: u64,
    /// `here`, `coming`, `wanted`, `on_demand`, `missing` or `forged`.
    state: &'static str,
    /// Whether a relay has it, for one that was put here.
    given: bool,
    device: String,
    /// In milliseconds since the Unix epoch.
    modified: u64,
}

impl<'a> From<&'a FileInfo> for Event<'a> {
    fn from(file: &'a FileInfo) -> Self {
        Self::File(File {
            id: file.id.to_string(),
            name: &file.name,
            size: file.size,
            state: file.state.as_str(),
            given: file.given,
            device: file.device.to_string(),
            modified: file.modified_ms,
        })
    }
}

//! What a commit states of those that it puts out.

use std::collections::BTreeSet;

use sync_types::frame::Cut;
use sync_types::{DeviceId, decode, limits};

use super::Violation;
use crate::Defence;
use crate::defence::stands;

/// Reads a commit's authenticated data: the end of the chain of each device that it puts out, and of no other. Nothing has
/// to be written where nobody is put out. Whether a chain ends there, only a relay can say.
pub fn cut(authenticated_data: &[u8], removed: &[DeviceId]) -> Result<Cut, Violation> {
    let cut = if authenticated_data.is_empty() {
        Cut::default()
    } else {
        decode::<Cut>(authenticated_data).map_err(|_| Violation::Cut)?
    };
    let named: BTreeSet<DeviceId> = cut.last.iter().map(|reached| reached.sender).collect();
    let exact = named.len() == cut.last.len() && named == removed.iter().copied().collect();
    if exact && cut.last.iter().all(|reached| reached.seq < limits::NUMBER) || !stands(Defence::CutForm) {
        return Ok(cut);
    }
    Err(Violation::Cut)
}

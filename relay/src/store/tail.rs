//! What was appended since a group's counters and heads were last written, counted on top of them.

use std::collections::BTreeMap;

use sync_rules::envelope::head_of;
use sync_types::frame::EntryKind;
use sync_types::{DeviceId, Envelope};

use super::{Bytes, GroupRows, HeadRow, StoreError};

/// The cursors of the envelopes that are their senders' heads without a row that says so.
pub(super) fn last_envelopes(rows: &GroupRows) -> Vec<u64> {
    let beyond = rows.index.iter().filter(|row| row.cursor > rows.settled && row.kind == EntryKind::Envelope);
    let last: BTreeMap<DeviceId, u64> = beyond.map(|row| (row.sender, row.cursor)).collect();
    last.into_values().collect()
}

/// Brings counters and heads up to the last entry. `envelopes`: those that [`last_envelopes`] named.
///
/// # Errors
/// [`StoreError::Corrupt`] when one of them is no envelope.
pub(super) fn count(mut rows: GroupRows, envelopes: Vec<Bytes>) -> Result<GroupRows, StoreError> {
    for row in rows.index.iter().filter(|row| row.cursor > rows.settled) {
        rows.counters.newest = rows.counters.newest.max(row.cursor);
        rows.counters.entries += 1;
        rows.counters.bytes += u64::from(row.size);
    }
    let mut heads: BTreeMap<DeviceId, HeadRow> = rows.heads.drain(..).map(|row| (row.sender, row)).collect();
    for bytes in envelopes {
        let envelope = Envelope::parse(&bytes)
            .map_err(|error| StoreError::Corrupt(format!("an entry is no envelope: {error}")))?;
        let sender = envelope.header.sender;
        heads.insert(sender, HeadRow { sender, head: head_of(&envelope), cut: false });
    }
    rows.heads = heads.into_values().collect();
    Ok(rows)
}

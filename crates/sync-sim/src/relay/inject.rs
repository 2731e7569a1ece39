//! A hostile relay's own entries.

use mls_rs::CryptoProvider;
use sync_relay::mailbox::{Decision, GroupState, NewEntries, Notice};
use sync_relay::store::{Bytes, EntryRow, IndexRow, Write};
use sync_types::frame::{About, EntryKind};
use sync_types::{DeviceId, GroupId};

use super::Relay;
use crate::model::Op;

impl<P: CryptoProvider + Clone + Send + Sync> Relay<P> {
    /// A hostile relay puts an entry of its own into the log. Only when nothing is on its way to the disk.
    pub(crate) fn inject(&mut self, group: GroupId, kind: EntryKind, sender: DeviceId, bytes: &[u8]) -> bool {
        if self.has_pending() {
            return false;
        }
        let Some(mut rows) = self.load(group) else { return false };
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        rows.counters.newest += 1;
        rows.counters.entries += 1;
        rows.counters.bytes += u64::from(size);
        let (cursor, counters) = (rows.counters.newest, rows.counters);
        rows.index.push(IndexRow { cursor, kind, sender, size });
        let entry = EntryRow { cursor, kind, sender, bytes: Bytes::from(bytes) };
        // Nothing is to be learned from an entry that is no envelope.
        rows.settled = cursor;
        let mut writes: Vec<Write> = rows.heads.iter().map(|head| Write::PutHead(group, head.clone())).collect();
        writes.extend([Write::AppendEntries(group, vec![entry]), Write::SetCounters(group, counters)]);
        if self.groups.contains_key(&group) {
            self.groups.insert(group, GroupState::from_rows(rows));
        }
        let notices = vec![Notice::NewEntries(NewEntries::one(cursor))];
        let decision = Decision { writes, notices, ..Decision::default() };
        self.decided(None, group, About::Session, decision, Some(Op::Injected { kind, sender }));
        true
    }
}

//! A device's store as `sync_core::store` describes it, in ordered maps. A crash before a commit is a clone put back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sync_core::Outcome;
use sync_core::store::{Answer, Key, LogBlob, LogPlace, Read, RefusedEntry, Write};
use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_types::body::{Blob, Span};
use sync_types::{BlobId, DeviceId, Opaque};
use zeroize::Zeroizing;

use crate::mutation::Mutation;

/// How many refused entries are kept.
const KEPT: usize = 16;

#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) state: BTreeMap<Key, Zeroizing<Vec<u8>>>,
    pub(crate) log: BTreeMap<u64, LogBlob>,
    ids: BTreeMap<BlobId, u64>,
    /// Positions of own blobs without a seq.
    pub(crate) waiting: BTreeSet<u64>,
    held: BTreeMap<(DeviceId, u64, u64), Blob>,
    held_ids: BTreeSet<(DeviceId, u64, BlobId)>,
    /// Blobs that came under another number too.
    also: BTreeSet<LogPlace>,
    arrivals: u64,
    pub(crate) sealed: BTreeMap<u64, Opaque>,
    gap: BTreeMap<(DeviceId, u64), Opaque>,
    pub(crate) refused: BTreeMap<Outcome, u64>,
    /// The last of them.
    pub(crate) kept: VecDeque<RefusedEntry>,
    /// Positions, from 1 and never used again.
    next_position: u64,
    pub(crate) conflicts: u64,
    mutation: Option<Mutation>,
}

impl Disk {
    pub(crate) fn new(mutation: Option<Mutation>) -> Self {
        Self { mutation, ..Self::default() }
    }

    pub(crate) fn rows(&self) -> Vec<(Key, Zeroizing<Vec<u8>>)> {
        self.state.iter().map(|(key, value)| (*key, value.clone())).collect()
    }

    pub(crate) fn has(&self, id: BlobId) -> bool {
        self.ids.contains_key(&id)
    }

    pub(crate) fn blob(&self, id: BlobId) -> Option<&LogBlob> {
        self.log.get(self.ids.get(&id)?)
    }

    /// An app's push: own blobs without a seq.
    pub(crate) fn push(&mut self, sender: DeviceId, blobs: Vec<Blob>) {
        for blob in blobs {
            let position = self.append(sender, 0, blob);
            self.waiting.insert(position);
        }
    }

    fn append(&mut self, sender: DeviceId, seq: u64, blob: Blob) -> u64 {
        self.next_position += 1;
        let position = self.next_position;
        self.ids.insert(blob.id, position);
        self.log.insert(position, LogBlob { position, sender, seq, blob, covers: Vec::new() });
        position
    }

    /// Takes a blob into the log, unless its id is known.
    fn take(&mut self, sender: DeviceId, seq: u64, blob: Blob) {
        match self.blob(blob.id) {
            Some(known) if self.mutation != Some(Mutation::NoDeduplication) && stands(Defence::BlobIds) => {
                let differs = known.blob != blob;
                let place = LogPlace { position: known.position, sender, seq };
                if place != known.place() {
                    self.also.insert(place);
                }
                self.conflicts += u64::from(differs);
            }
            _ => drop(self.append(sender, seq, blob)),
        }
    }

    pub(crate) fn apply(&mut self, writes: Vec<Write>) {
        writes.into_iter().for_each(|write| self.write(write));
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::Put(key, value) => drop(self.state.insert(key, value)),
            Write::Delete(key) => drop(self.state.remove(&key)),
            Write::ClearGroup => {
                self.state.clear();
                self.held.clear();
                self.held_ids.clear();
                self.also.clear();
                self.sealed.clear();
                self.gap.clear();
            }
            Write::Reoffer { sender } => {
                for (position, row) in &mut self.log {
                    (row.sender, row.seq) = (sender, 0);
                    self.waiting.insert(*position);
                }
            }
            Write::Rekeyed { old, new, kept_seq, held_seq } => {
                self.sealed.clear();
                let beyond = |row: &&mut LogBlob| row.sender == old && (row.seq == 0 || row.seq > kept_seq);
                for row in self.log.values_mut().filter(beyond) {
                    if (1..=held_seq).contains(&row.seq) {
                        self.also.insert(row.place());
                    }
                    (row.sender, row.seq) = (new, 0);
                    self.waiting.insert(row.position);
                }
            }
            Write::Sealed { seq, envelope, up_to_position } => {
                self.sealed.insert(seq, envelope);
                while let Some(position) = self.waiting.first().copied().filter(|p| Some(*p) <= up_to_position) {
                    self.waiting.remove(&position);
                    if let Some(row) = self.log.get_mut(&position) {
                        row.seq = seq;
                    }
                }
            }
            Write::DropSealed { up_to_seq } => self.sealed = self.sealed.split_off(&(up_to_seq + 1)),
            Write::Receive { sender, seq, blobs, hold } => {
                let hold = hold && self.mutation != Some(Mutation::HeldOutOfOrder);
                blobs.into_iter().for_each(|blob| self.receive(sender, seq, blob, hold));
            }
            // No app makes one in these worlds.
            Write::ReceiveSnapshot { sender, seq, blob, .. } => self.take(sender, seq, blob),
            Write::RestoreSnapshot { sender, blob, .. } => self.take(sender, 0, blob),
            // What a device leaves for a kit is tried in the attacks, which ask for it themselves.
            Write::KitKept { .. } | Write::KitLost { .. } => {}
            Write::Release { sender, up_to_seq } => self.release(sender, up_to_seq),
            Write::BufferGap { sender, seq, envelope } => drop(self.gap.insert((sender, seq), envelope)),
            Write::DropGap { sender, seq } => drop(self.gap.remove(&(sender, seq))),
            Write::Refused(entry) => {
                *self.refused.entry(entry.outcome).or_default() += 1;
                self.kept.truncate(KEPT - 1);
                self.kept.push_front(*entry);
            }
        }
    }

    fn receive(&mut self, sender: DeviceId, seq: u64, blob: Blob, hold: bool) {
        if !hold {
            self.take(sender, seq, blob);
        } else if self.held_ids.insert((sender, seq, blob.id)) {
            self.arrivals += 1;
            self.held.insert((sender, seq, self.arrivals), blob);
        }
    }

    fn release(&mut self, sender: DeviceId, up_to_seq: u64) {
        let range = (sender, 0, 0)..=(sender, up_to_seq, u64::MAX);
        let keys: Vec<_> = self.held.range(range).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(blob) = self.held.remove(&key) {
                self.held_ids.remove(&(sender, key.1, blob.id));
                self.take(sender, key.1, blob);
            }
        }
    }

    pub(crate) fn read(&self, read: &Read) -> Answer {
        match read {
            Read::Outbox { max_bytes, max_blobs } => {
                let rows = self.waiting.iter().filter_map(|p| self.log.get(p)).take(*max_blobs);
                Answer::Outbox(within(rows.cloned(), *max_bytes, |row| row.blob.data.len()))
            }
            Read::Sealed { from_seq, max_bytes } => {
                let rows = self.sealed.range(from_seq..).map(|(seq, envelope)| (*seq, envelope.clone()));
                Answer::Sealed(within(rows, *max_bytes, |row| row.1.len()))
            }
            Read::Repair { from_seq, to_seq, max_bytes } => {
                let rows = self.sealed.range(from_seq..=to_seq).map(|(seq, envelope)| (*seq, envelope.clone()));
                Answer::Repair(within(rows, *max_bytes, |row| row.1.len()))
            }
            Read::History { spans, after, max_bytes, max_blobs } => {
                let wanted = |place: &LogPlace| {
                    let inside = |s: &Span| s.sender == place.sender && s.from <= place.seq && place.seq <= s.to;
                    place > after && spans.iter().any(inside)
                };
                let places = self.log.values().map(LogBlob::place).chain(self.also.iter().copied());
                let places: BTreeSet<LogPlace> = places.filter(wanted).collect();
                let rows = places.iter().take(*max_blobs).filter_map(|place| {
                    let row = self.log.get(&place.position)?.clone();
                    Some(LogBlob { sender: place.sender, seq: place.seq, ..row })
                });
                Answer::History(within(rows, *max_bytes, |row| row.blob.data.len()))
            }
            Read::ForKit { .. } => Answer::ForKit(None),
            Read::Gap { sender, seq } => Answer::Gap(self.gap.get(&(*sender, *seq)).cloned()),
        }
    }

    /// How many bytes of envelopes wait before their predecessor.
    pub(crate) fn gap_bytes(&self) -> usize {
        self.gap.values().map(|envelope| envelope.len()).sum()
    }

    /// How many blobs wait behind a hole, and how many envelopes before their predecessor.
    pub(crate) fn stuck(&self) -> (usize, usize) {
        (self.held.len(), self.gap.len())
    }
}

/// The first row, then as many as fit.
fn within<T>(rows: impl Iterator<Item = T>, max_bytes: usize, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut out: Vec<T> = Vec::new();
    let mut bytes = 0;
    for row in rows {
        bytes += size(&row);
        if bytes > max_bytes && !out.is_empty() {
            break;
        }
        out.push(row);
    }
    out
}

//! Acknowledgements of devices that this one does not know yet, as the commits that add them are behind, and of envelopes that
//! may not be this one's.
//!
//! Nothing vouches for them before their signers' keys are known, so a relay could fill the memory with them.

use std::collections::BTreeMap;

use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_types::{DeviceId, Opaque, limits};

/// How many bytes are kept in all: of as many members as a group may have, each with a statement of the usual size.
const MOST_BYTES: usize = 2 << 20;

/// The newest such statement of each device.
#[derive(Default)]
pub(super) struct EarlyReceipts {
    of: BTreeMap<DeviceId, Opaque>,
    bytes: usize,
}

impl EarlyReceipts {
    /// Keeps a statement in place of its device's earlier one, if there is room. What is not kept comes again: members
    /// state everything at each connection.
    pub(super) fn keep(&mut self, device: DeviceId, statement: &[u8]) {
        let before = self.of.get(&device).map_or(0, |earlier| earlier.len());
        let bytes = self.bytes - before + statement.len();
        let new = usize::from(!self.of.contains_key(&device));
        if (self.of.len() + new > limits::MEMBERS || bytes > MOST_BYTES) && stands(Defence::EarlyReceipts) {
            return;
        }
        self.of.insert(device, Opaque(statement.to_vec()));
        self.bytes = bytes;
    }

    /// How many bytes are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes all.
    pub(super) fn take(&mut self) -> Vec<Opaque> {
        std::mem::take(self).of.into_values().collect()
    }
}

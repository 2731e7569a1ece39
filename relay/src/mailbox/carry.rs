//! Acknowledgements that another member brings: of one that is attached elsewhere, or was when both met.
//!
//! A group whose members host its mailboxes has devices that never come to one of these. What such a device signed for at another mailbox
//! counts here as well, whoever brings it, as it holds for the sender's chain and not for a relay's log: its envelopes are not waited for, its
//! signer has shown a sign of life, and the sender hears of it. Changes of the group wait for the device itself, which says nothing of them.

use std::collections::BTreeMap;

use sync_types::frame::{About, Acknowledgement};
use sync_types::{Code, DeviceId, codec};

use super::{Decision, GroupState, Refusal, Stated};

/// Below which number of each sender's envelopes another member has signed for all, by (sender, signer). Not on disk: whoever
/// brought it brings it again at its next connection.
pub(super) type Carried = BTreeMap<(DeviceId, DeviceId), u64>;

impl GroupState {
    /// Takes a statement that another member than the device has signed; `served_ms` as for [`GroupState::sign_of_life`]. What it says less
    /// than the one that is kept changes nothing, and an old one is no sign of life: so nobody keeps a member in by saying again what
    /// it once said.
    ///
    /// Refused with `PROTOCOL` together with a cursor, which is nobody else's to move; with `NOT_MEMBER` or `REMOVED` where either of the two is
    /// not in the group; else as in [`GroupState::acknowledge`].
    pub fn carry(&mut self, device: DeviceId, request: &Stated, served_ms: u64) -> Result<Decision, Refusal> {
        let about = About::Acknowledge;
        self.current_member(device, about)?;
        let Some(Ok((statement, _))) = &request.read else {
            return Err(Refusal::new(about, Code::Protocol, "there is no statement to carry"));
        };
        if request.cursor != 0 {
            return Err(Refusal::new(about, Code::Protocol, "the acknowledgement is of another device"));
        }
        let by = statement.device;
        let key = self.current_member(by, about)?.key;
        let named = self.check_statement(by, &key, request)?;
        let mut decision = Decision::default();
        let mut moved = false;
        for sender in named {
            if !self.is_of_this_chain(statement, sender) {
                continue;
            }
            let below = statement.signed_below(sender);
            let known = self.statements.get(&(by, sender)).map_or(0, |kept| below_in(kept, sender));
            if below > known {
                self.keep_statement(by, sender, &request.bytes, &mut decision);
            }
            let carried = self.carried.entry((sender, by)).or_default();
            moved |= below.max(known) > *carried;
            *carried = below.max(known).max(*carried);
        }
        if !decision.writes.is_empty() {
            decision.writes.extend(self.sign_of_life(by, served_ms));
        }
        // Commits wait for whom they waited before.
        if moved && self.collect(u64::MAX, &mut decision.writes) {
            self.put_counters(&mut decision.writes);
        }
        Ok(decision)
    }

    /// Whether the last envelope that a statement names is not another one than the relay has under that number.
    fn is_of_this_chain(&self, statement: &Acknowledgement, sender: DeviceId) -> bool {
        let (seq, hash) = self.position(sender);
        statement.frontier.iter().any(|r| r.sender == sender && (r.seq != seq || r.hash == hash))
    }
}

/// What a statement that is kept says of a sender. It was read before it was kept.
fn below_in(kept: &[u8], sender: DeviceId) -> u64 {
    codec::decode::<Acknowledgement>(kept).map_or(0, |statement| statement.signed_below(sender))
}

//! Acknowledging, and deleting what everybody has.

use std::collections::BTreeSet;

use sync_rules::statement::verify_acknowledgement;
use sync_types::frame::{About, Acknowledge, Acknowledgement};
use sync_types::{Code, DeviceId, codec};

use super::{Decision, GroupState, Notice, Refusal};
use crate::store::{Bytes, MemberRow, StatementRow, Write};

impl GroupState {
    /// Moves the device's cursor, keeps and forwards its signed statement, and deletes what nobody waits for any more.
    ///
    /// A cursor below the acknowledged one moves nothing. Senders verify a statement themselves; the relay checks it too,
    /// because it keeps it for those that are away and must not keep what is worth nothing. A former member acknowledges
    /// the commits up to its removal, without statements.
    pub fn acknowledge(&mut self, device: DeviceId, request: &Acknowledge) -> Result<Decision, Refusal> {
        let about = About::Acknowledge;
        let Some(member) = self.members.get(&device) else {
            return Err(Refusal::new(about, Code::NotMember, "the device is not in the group"));
        };
        let until = self.view(device).map_or(0, |view| view.until).min(self.counters.newest);
        if request.cursor > until.max(member.acknowledged) {
            return Err(Refusal::new(about, Code::Protocol, "nothing up to this cursor was ever delivered"));
        }
        let named = if request.statement.is_empty() {
            Vec::new()
        } else {
            // One whose removal is not final yet may be back in a moment, and then its word counts.
            if member.removed.is_some() && !self.is_provisionally_removed(member) {
                return Err(Refusal::new(about, Code::Removed, "the device was removed from the group"));
            }
            self.check_statement(device, &member.key, &request.statement)?
        };

        let mut decision = Decision::default();
        let statement = Bytes::from(&request.statement[..]);
        for sender in named {
            self.statements.insert((device, sender), statement.clone());
            let row = StatementRow { acknowledger: device, sender, statement: statement.clone() };
            decision.writes.push(Write::PutStatement(self.id(), row));
            decision.notices.push(Notice::Receipt { to: sender, statement: statement.clone() });
        }
        self.move_cursor(device, request.cursor, &mut decision);
        Ok(decision)
    }

    fn move_cursor(&mut self, device: DeviceId, cursor: u64, decision: &mut Decision) {
        let Some(member) = self.members.get_mut(&device).filter(|m| m.acknowledged < cursor) else { return };
        member.acknowledged = cursor;
        decision.writes.push(Write::SetAcknowledged(self.group.group, device, cursor));
        let confirms =
            self.group.provisional.as_ref().is_some_and(|p| p.cursor <= cursor && self.is_kept_witness(device, p));
        if confirms {
            self.confirm(decision);
        } else if self.collect(&mut decision.writes) {
            self.put_counters(&mut decision.writes);
        }
    }

    /// Whom a statement concerns: the members that it names, its signer excepted.
    fn check_statement(&self, device: DeviceId, key: &[u8; 32], bytes: &[u8]) -> Result<Vec<DeviceId>, Refusal> {
        let refuse = |code, message: &'static str| Refusal::new(About::Acknowledge, code, message);
        let statement: Acknowledgement =
            codec::decode(bytes).map_err(|e| Refusal::new(About::Acknowledge, Code::Protocol, e.to_string()))?;
        if statement.device != device {
            return Err(refuse(Code::Protocol, "the acknowledgement is of another device"));
        }
        let senders: BTreeSet<DeviceId> = statement.frontier.iter().map(|r| r.sender).collect();
        if senders.len() != statement.frontier.len() {
            return Err(refuse(Code::Protocol, "the acknowledgement names a sender twice"));
        }
        verify_acknowledgement(&self.id(), &statement, key)
            .map_err(|_| refuse(Code::BadSignature, "the acknowledgement's signature does not verify"))?;
        // One whose removal may yet be undone is not to miss it.
        let counts = |m: &MemberRow| m.removed.is_none() || self.is_provisionally_removed(m);
        let concerned = |sender: &DeviceId| *sender != device && self.members.get(sender).is_some_and(counts);
        Ok(senders.into_iter().filter(concerned).collect())
    }
}

//! Acknowledging, and deleting what everybody has.

use std::collections::{BTreeMap, BTreeSet};

use sync_types::frame::About;
use sync_types::{Code, DeviceId, limits};

use super::verified::Signed;
use super::{Decision, GroupState, NUMBER_MAX, Notice, Refusal, Stated};
use crate::store::{Bytes, MemberRow, StatementRow, Write};

/// How many bytes of one device's statements the relay keeps, which no quota counts. A device that names everybody at once
/// has one statement and stays far below.
const KEPT_BYTES: usize = 4 * limits::STATEMENT_BYTES;
/// After how many milliseconds a device that has more says it all anew.
const KEPT_RETRY_MS: u64 = 1_000;
/// How many holes an acknowledgement may name.
const STATEMENT_HOLES: usize = 1_024;

impl GroupState {
    /// Moves the device's cursor, keeps and forwards its signed statement, and deletes what nobody waits for any more.
    ///
    /// A cursor below the acknowledged one moves nothing. Senders verify a statement themselves; the relay checks it too,
    /// because it keeps it for those that are away and must not keep what is worth nothing. A former member acknowledges
    /// the commits up to its removal, without statements. Another member's statement is for [`GroupState::carry`].
    ///
    /// A statement has at most 64 KiB and 1,024 holes, and names only senders that the relay knows, each once; another is
    /// refused with `PROTOCOL`, one whose signature does not verify with `BAD_SIGNATURE`, and one with which the relay would
    /// keep too many by this device with `QUOTA`.
    pub fn acknowledge(&mut self, device: DeviceId, request: &Stated) -> Result<Decision, Refusal> {
        let about = About::Acknowledge;
        let Some(member) = self.members.get(&device) else {
            return Err(Refusal::new(about, Code::NotMember, "the device is not in the group"));
        };
        let until = self.view(device).map_or(0, |view| view.until).min(self.ceiling());
        if request.cursor > until.max(member.acknowledged) {
            return Err(Refusal::new(about, Code::Protocol, "nothing up to this cursor was ever delivered"));
        }
        let named = if request.bytes.is_empty() {
            Vec::new()
        } else {
            // One whose removal is not final yet may be back in a moment, and then its word counts.
            if member.removed.is_some() && !self.is_provisionally_removed(member) {
                return Err(Refusal::new(about, Code::Removed, "the device was removed from the group"));
            }
            self.check_statement(device, &member.key, request)?
        };

        let mut decision = Decision::default();
        let statement = &request.bytes;
        for sender in named {
            self.keep_statement(device, sender, statement, &mut decision);
        }
        self.move_cursor(device, request.cursor, &mut decision);
        Ok(decision)
    }

    /// Keeps a statement for one sender, who is told.
    pub(super) fn keep_statement(
        &mut self,
        by: DeviceId,
        sender: DeviceId,
        statement: &Bytes,
        decision: &mut Decision,
    ) {
        self.statements.insert((by, sender), statement.clone());
        let row = StatementRow { acknowledger: by, sender, statement: statement.clone() };
        decision.writes.push(Write::PutStatement(self.id(), row));
        decision.notices.push(Notice::Receipt { from: by, to: sender, statement: statement.clone() });
    }

    fn move_cursor(&mut self, device: DeviceId, cursor: u64, decision: &mut Decision) {
        let Some(member) = self.members.get_mut(&device).filter(|m| m.acknowledged < cursor) else { return };
        let before = std::mem::replace(&mut member.acknowledged, cursor);
        decision.writes.push(Write::SetAcknowledged(self.group.group, device, cursor));
        let confirms =
            self.group.provisional.as_ref().is_some_and(|p| p.cursor <= cursor && self.is_kept_witness(device, p));
        if confirms {
            self.confirm(decision);
        } else if self.collect(before, &mut decision.writes) {
            self.put_counters(&mut decision.writes);
        }
    }

    /// Whom a statement concerns: the members that it names, its signer excepted.
    pub(super) fn check_statement(
        &self,
        device: DeviceId,
        key: &[u8; 32],
        stated: &Stated,
    ) -> Result<Vec<DeviceId>, Refusal> {
        let refuse = |code, message: &'static str| Refusal::new(About::Acknowledge, code, message);
        let Some(read) = &stated.read else {
            return Err(refuse(Code::Protocol, "the acknowledgement is larger than 64 KiB"));
        };
        let (statement, signed) =
            read.as_ref().map_err(|e| Refusal::new(About::Acknowledge, Code::Protocol, e.to_string()))?;
        if statement.device != device {
            return Err(refuse(Code::Protocol, "the acknowledgement is of another device"));
        }
        let senders: BTreeSet<DeviceId> = statement.frontier.iter().map(|r| r.sender).collect();
        if senders.len() != statement.frontier.len() {
            return Err(refuse(Code::Protocol, "the acknowledgement names a sender twice"));
        }
        if statement.holes.len() > STATEMENT_HOLES {
            return Err(refuse(Code::Protocol, "the acknowledgement names more than 1,024 holes"));
        }
        // A sender that was removed and forgotten has left its head.
        if senders.iter().any(|sender| !self.members.contains_key(sender) && !self.heads.contains_key(sender)) {
            return Err(refuse(Code::Protocol, "the acknowledgement names a sender that the relay does not know"));
        }
        let mut numbers = statement
            .frontier
            .iter()
            .map(|r| r.seq)
            .chain(statement.holes.iter().flat_map(|span| [span.from, span.to]));
        if numbers.any(|number| number > NUMBER_MAX) {
            return Err(refuse(Code::Protocol, "a number in the acknowledgement is out of range"));
        }
        match signed {
            Signed::By(by) if by == key && stated.group == self.id() => {}
            // It was verified by the keys of a state that never became durable.
            Signed::Unknown => return Err(self.provisional_refusal(About::Acknowledge)),
            _ => return Err(refuse(Code::BadSignature, "the acknowledgement's signature does not verify")),
        }
        // One whose removal may yet be undone is not to miss it.
        let counts = |m: &MemberRow| m.removed.is_none() || self.is_provisionally_removed(m);
        let concerned = |sender: &DeviceId| *sender != device && self.members.get(sender).is_some_and(counts);
        let named: Vec<DeviceId> = senders.into_iter().filter(concerned).collect();
        if self.kept_beside(device, &named) + stated.bytes.len() > KEPT_BYTES {
            let message = "too many statements of this device are kept: state everything at once";
            return Err(refuse(Code::Quota, message).retry_after(KEPT_RETRY_MS));
        }
        Ok(named)
    }

    /// How many bytes of statements by this device stay when it states something of these. `named` is in order.
    fn kept_beside(&self, device: DeviceId, named: &[DeviceId]) -> usize {
        let all = (device, DeviceId([0; 16]))..=(device, DeviceId([0xff; 16]));
        let stay = self.statements.range(all).filter(|((_, about), _)| named.binary_search(about).is_err());
        let each: BTreeMap<_, usize> = stay.map(|(_, statement)| (statement.as_ptr(), statement.len())).collect();
        each.values().sum()
    }
}

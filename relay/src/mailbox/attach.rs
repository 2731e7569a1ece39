//! Making a group, attaching to one, and the newcomer's word that it has its Welcome.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use sync_rules::defence::stands;
use sync_rules::envelope::verify_head;
use sync_rules::{Defence, Observe, Observed, attach};
use sync_types::envelope::{Class, Header};
use sync_types::frame::{About, Attach, Attached, FromRelay, Head};
use sync_types::{Code, DeviceId, Opaque, Suite, limits};

use super::{Decision, GroupState, NUMBER_MAX, Notice, Refusal, View};
use crate::store::{Bytes, Counters, GroupRow, GroupRows, HeadRow, MemberRow, Removal, Write};

/// What proves that a connection is a member's: its signature over the value that only this connection's two ends know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The connection's TLS exporter value.
    pub exporter: [u8; 32],
    /// The device's signature, as [`sync_rules::attach::prove`] makes it.
    pub signature: [u8; 64],
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof")
    }
}

/// What an attached device is told first, in this order: [`Attachment::attached`], whether it had lapsed, its Welcome if one waits, receipts, and
/// then entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The first frame.
    pub attached: Attached,
    /// Up to which cursor entries may be gone that the device has not acknowledged, if it had lapsed.
    pub lapsed: Option<u64>,
    /// Whether a Welcome lies in the store that may be delivered now.
    pub welcome_waits: bool,
    /// The latest signed acknowledgements that name the device.
    pub receipts: Vec<Bytes>,
    /// What it may be shown.
    pub view: View,
}

/// By how much a device's cursors may be ahead of the relay's clock, in milliseconds: a year.
const AHEAD_MS: u64 = 365 * 24 * 3_600_000;

/// The cursor that a relay which starts now goes on behind, at the least: above all that it, or one before it, gave out,
/// unless that was more than a million entries a millisecond. Below [`limits::NUMBER`] until the year 2109.
pub fn first_cursor(now_ms: u64) -> u64 {
    (now_ms.min(limits::NUMBER >> 21)) << 20
}

impl GroupState {
    /// Makes a group: of its founder alone, or one that this relay has lost, by whichever of its members comes first.
    ///
    /// Fails for a GroupInfo that is of another group, is without the device that attaches, or is of an epoch of 2⁶³ and
    /// more (`PROTOCOL`), for what the
    /// observer refuses, and for a proof that does not hold (`BAD_SIGNATURE`). When the group exists already, call
    /// [`GroupState::create_again`] instead.
    pub fn create(
        observe: &dyn Observe,
        request: &Attach,
        proof: &Proof,
        group_info: &[u8],
        now_ms: u64,
    ) -> Result<(Self, Decision), Refusal> {
        let observed = state_of(observe, request, proof, group_info)?;
        let group = GroupRow {
            group: observed.group,
            suite: observed.suite,
            suite_since: observed.suite_since,
            epoch: observed.epoch,
            snapshot: Bytes::from(observed.snapshot),
            group_info: Bytes::from(group_info),
            last_commit: None,
            rejected: Vec::new(),
            provisional: None,
            created_at_ms: now_ms,
        };
        let kit = observed.settings.recovery();
        let member = |(device, key)| MemberRow { device, key, ..MemberRow::default() };
        let members: Vec<MemberRow> = observed.members.into_iter().map(member).collect();
        let mut state = Self::from_rows(GroupRows {
            group: group.clone(),
            counters: Counters::default(),
            settled: 0,
            members: members.clone(),
            heads: Vec::new(),
            statements: Vec::new(),
            welcomes: Vec::new(),
            index: Vec::new(),
            kits: Vec::new(),
            vouches: Vec::new(),
            snapshots: Vec::new(),
            token: None,
        });
        let mut writes = vec![Write::PutGroup(Box::new(group)), Write::SetCounters(state.id(), state.counters)];
        writes.extend(members.into_iter().map(|member| Write::PutMember(state.id(), member)));
        state.set_kit(kit, first_cursor(now_ms), &mut writes);
        Ok((state, Decision { writes, ..Decision::default() }))
    }

    /// Making a group that exists already: an attach for its members and former members, `GROUP_EXISTS` for everybody else.
    /// A member may bring a later state of the group: this relay has been set back, and goes on from there. Whoever stands
    /// at an epoch between the two takes a new key.
    pub fn create_again(
        &mut self,
        observe: &dyn Observe,
        request: &Attach,
        proof: &Proof,
        group_info: &[u8],
        now_ms: u64,
    ) -> Result<(Attachment, Decision), Refusal> {
        if !self.members.contains_key(&request.device) {
            return Err(Refusal::new(About::Session, Code::GroupExists, "a group with this id exists"));
        }
        let mut decision = Decision::default();
        if self.current_member(request.device, About::Session).is_ok() && self.group.provisional.is_none() {
            let observed = state_of(observe, request, proof, group_info)?;
            if observed.suite != self.group.suite && observed.suite_since == self.group.suite_since {
                return Err(Refusal::new(About::Session, Code::Suite, "the group is of another cipher suite"));
            }
            if observed.epoch > self.group.epoch {
                self.raise(observed, group_info, now_ms, &mut decision);
            }
            let ahead = request.stored > self.ceiling();
            if ahead && request.stored <= first_cursor(now_ms.saturating_add(AHEAD_MS)) {
                // This relay's clock was set back since.
                self.counters.newest = request.stored;
                self.put_counters(&mut decision.writes);
            }
        }
        Ok((self.attach(request, proof)?, decision))
    }

    /// Goes on from a later state of the group.
    fn raise(&mut self, observed: Observed, group_info: &[u8], now_ms: u64, decision: &mut Decision) {
        let (group, cursor) = (self.id(), self.counters.newest);
        let present = |id: &DeviceId| observed.members.iter().any(|(member, _)| member == id);
        let gone: Vec<DeviceId> =
            self.members.values().filter(|m| m.removed.is_none() && !present(&m.device)).map(|m| m.device).collect();
        for device in gone {
            self.set_removed(device, Some(Removal { cursor, at_ms: now_ms }), &mut decision.writes);
            self.delete_statements(device, &mut decision.writes);
            decision.notices.push(Notice::Removed { device });
        }
        for (device, key) in observed.members {
            if let Entry::Vacant(place) = self.members.entry(device) {
                let row = MemberRow { device, key, added: cursor, ..MemberRow::default() };
                decision.writes.push(Write::PutMember(group, row.clone()));
                place.insert(row);
            }
        }
        self.set_kit(observed.settings.recovery(), cursor, &mut decision.writes);
        self.group.epoch = observed.epoch;
        (self.group.suite, self.group.suite_since) = (observed.suite, observed.suite_since);
        self.group.snapshot = Bytes::from(observed.snapshot);
        self.group.group_info = Bytes::from(group_info);
        (self.group.last_commit, self.group.rejected) = (None, Vec::new());
        decision.writes.push(Write::PutGroup(Box::new(self.group.clone())));
        decision.notices.push(Notice::Confirmed { epoch: observed.epoch, cursor });
        decision.notices.push(Notice::ViewsChanged);
    }

    /// Takes the ends of members' chains that this relay does not know, or no more. Each has to be signed by its sender.
    ///
    /// Fails with `TOO_LARGE` for more than a group has members, and with `BAD_SIGNATURE` for one that does not hold; then
    /// nothing is taken. What is not a present member's, or not further on, is left out.
    pub fn take_heads(&mut self, device: DeviceId, heads: &[Head]) -> Result<Decision, Refusal> {
        self.current_member(device, About::Push)?;
        if heads.len() > limits::MEMBERS {
            return Err(Refusal::new(About::Push, Code::TooLarge, "there are more heads than members"));
        }
        let mut rows = Vec::new();
        for head in heads {
            let bad = || Refusal::new(About::Push, Code::BadSignature, "the head's signature does not verify");
            let sender = Header::parse(&head.header).map_err(|_| bad())?.sender;
            let Ok(member) = self.current_member(sender, About::Push) else { continue };
            let header = verify_head(&self.id(), head, &member.key).ok_or_else(bad)?;
            if header.class != Class::Ephemeral && head.seq > self.position(sender).0 && head.seq <= NUMBER_MAX {
                rows.push(HeadRow { sender, head: head.clone(), cut: false });
            }
        }
        let mut decision = Decision::default();
        rows.into_iter().for_each(|row| self.set_head(row));
        self.put_counters(&mut decision.writes);
        Ok(decision)
    }

    /// Attaches a member, or a former member for the commits up to its removal. Changes nothing.
    ///
    /// Fails with `NOT_MEMBER` for a stranger, `BAD_SIGNATURE` for a proof that does not hold, `SUITE` for another suite than the
    /// group's, unless the group has moved and the device may have yet to hear of it, `PROTOCOL` for a cursor of
    /// 2⁶³ and more, and `UNKNOWN_GROUP` when the device has stored more than this relay ever had: then it may come with
    /// [`GroupState::create_again`].
    pub fn attach(&self, request: &Attach, proof: &Proof) -> Result<Attachment, Refusal> {
        let stranger = || Refusal::new(About::Session, Code::NotMember, "the device is not in the group");
        let member = self.members.get(&request.device).ok_or_else(stranger)?;
        let view = self.view(request.device).ok_or_else(stranger)?;
        check_proof(&member.key, request, proof)?;
        if self.group.suite_since == 0 || Suite::from_wire(request.suite).is_err() {
            check_suite(self.group.suite, request)?;
        }
        if request.stored > NUMBER_MAX {
            return Err(Refusal::new(About::Session, Code::Protocol, "the stored cursor is out of range"));
        }
        if request.stored > self.ceiling() {
            let message = "the relay's data is older than what this device has stored";
            return Err(Refusal::new(About::Session, Code::UnknownGroup, message));
        }
        let newcomer = self.is_provisional_newcomer(member);
        let by_acknowledger: BTreeMap<DeviceId, &Bytes> = self
            .statements
            .iter()
            .filter(|((_, about), _)| *about == request.device && member.removed.is_none())
            .map(|((by, _), statement)| (*by, statement))
            .collect();
        Ok(Attachment {
            attached: Attached {
                epoch: self.group.epoch,
                provisional: self.group.provisional.is_some(),
                head: self.heads.get(&request.device).map(|h| h.head.clone()),
                // Where it began is not its own word.
                acknowledged: Some(member.acknowledged).filter(|a| *a > member.start).unwrap_or_default(),
                newest: self.counters.newest,
            },
            lapsed: Some(member.missed).filter(|m| *m > member.acknowledged && member.removed.is_none()),
            welcome_waits: !newcomer && member.removed.is_none() && self.welcomes.contains_key(&request.device),
            receipts: by_acknowledger.into_values().cloned().collect(),
            view: View { after: view.after.max(request.stored), ..view },
        })
    }

    /// For a current and confirmed member that proves to be one: for whom the group's content is kept, which are all members but
    /// those that hold back nothing any more. Changes nothing.
    ///
    /// Fails with `NOT_MEMBER` for a stranger, `BAD_SIGNATURE` for a proof that does not hold, `REMOVED` for a former member and
    /// `PROVISIONAL` while it is not certain whether the device is one.
    pub fn readers(&self, request: &Attach, proof: &Proof) -> Result<BTreeSet<DeviceId>, Refusal> {
        let stranger = || Refusal::new(About::Session, Code::NotMember, "the device is not in the group");
        let member = self.members.get(&request.device).ok_or_else(stranger)?;
        check_proof(&member.key, request, proof)?;
        self.current_member(request.device, About::Session)?;
        // One whose removal may be undone is waited for.
        let is_one = |m: &MemberRow| m.removed.is_none() || self.is_provisionally_removed(m);
        let keeps = |m: &&MemberRow| is_one(m) && (m.device == request.device || !self.is_lapsed(m.device));
        Ok(self.members.values().filter(keeps).map(|m| m.device).collect())
    }

    /// The GroupInfo of the newest final epoch, for a member that takes a new key by it. `PROVISIONAL` while the last commit
    /// may be undone. `signer` is asked to renew its keys, so that the next one is signed by it.
    pub fn group_info(&self, device: DeviceId, signer: Option<DeviceId>) -> Result<Decision, Refusal> {
        self.current_member(device, About::GroupInfo)?;
        if self.group.provisional.is_some() {
            return Err(self.provisional_refusal(About::GroupInfo));
        }
        let reply = FromRelay::GroupInfo(Opaque(self.group.group_info.to_vec()));
        let asked = signer.filter(|signer| *signer != device && self.is_member(*signer));
        let notices = asked.map(|device| Notice::Renew { device }).into_iter().collect();
        Ok(Decision { reply: Some(reply), notices, ..Decision::default() })
    }

    /// The newcomer has stored its Welcome: it is forgotten. Repeating it is harmless.
    pub fn welcome_stored(&mut self, device: DeviceId) -> Result<Decision, Refusal> {
        self.current_member(device, About::Acknowledge)?;
        let mut decision = Decision::default();
        if self.welcomes.remove(&device).is_some() {
            decision.writes.push(Write::DeleteWelcome(self.id(), device));
        }
        Ok(decision)
    }

    /// The row of a current and confirmed member, or why the device may do nothing at present.
    pub(super) fn current_member(&self, device: DeviceId, about: About) -> Result<&MemberRow, Refusal> {
        let Some(member) = self.members.get(&device) else {
            return Err(Refusal::new(about, Code::NotMember, "the device is not in the group"));
        };
        if self.is_provisional_newcomer(member) || self.is_provisionally_removed(member) {
            return Err(self.provisional_refusal(about));
        }
        if member.removed.is_some() && stands(Defence::CurrentMember) {
            return Err(Refusal::new(about, Code::Removed, "the device was removed from the group"));
        }
        Ok(member)
    }
}

/// The group as a GroupInfo describes it, for a member of it that proves to be one.
fn state_of(observe: &dyn Observe, request: &Attach, proof: &Proof, group_info: &[u8]) -> Result<Observed, Refusal> {
    let refuse = |code, message: &'static str| Refusal::new(About::Session, code, message);
    let observed = observe.found(group_info).map_err(|e| Refusal::new(About::Session, e.code(), e.to_string()))?;
    if observed.group != request.group {
        return Err(refuse(Code::Protocol, "the GroupInfo is of another group"));
    }
    if observed.epoch > NUMBER_MAX {
        return Err(refuse(Code::Protocol, "the group's epoch is out of range"));
    }
    let key = observed.key_of(request.device).ok_or(refuse(Code::Protocol, "the GroupInfo is without this device"))?;
    check_proof(key, request, proof)?;
    check_suite(observed.suite, request)?;
    Ok(observed)
}

/// A device that takes its group for one of another suite has been led astray, or leads.
fn check_suite(suite: Suite, request: &Attach) -> Result<(), Refusal> {
    if request.suite == suite as u8 {
        return Ok(());
    }
    Err(Refusal::new(About::Session, Code::Suite, "the group is of another cipher suite"))
}

fn check_proof(key: &[u8; 32], request: &Attach, proof: &Proof) -> Result<(), Refusal> {
    let holds = attach::check(key, request.group, &proof.exporter, &proof.signature);
    holds
        .or_else(|error| if stands(Defence::AttachProof) { Err(error) } else { Ok(()) })
        .map_err(|_| Refusal::new(About::Session, Code::BadSignature, "the proof of membership does not hold"))
}

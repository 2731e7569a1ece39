//! Making a group, attaching to one, and the newcomer's word that it has its Welcome.

use std::collections::BTreeMap;

use sync_rules::defence::stands;
use sync_rules::{Defence, Observe, attach};
use sync_types::frame::{About, Attach, Attached, FromRelay};
use sync_types::{Code, DeviceId, Opaque, Suite};

use super::{Decision, GroupState, NUMBER_MAX, Notice, Refusal, View};
use crate::store::{Bytes, Counters, GroupRow, GroupRows, MemberRow, Write};

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

/// What an attached device is told first, in this order: [`Attachment::attached`], its Welcome if one waits, receipts, and
/// then entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The first frame.
    pub attached: Attached,
    /// Whether a Welcome lies in the store that may be delivered now.
    pub welcome_waits: bool,
    /// The latest signed acknowledgements that name the device.
    pub receipts: Vec<Bytes>,
    /// What it may be shown.
    pub view: View,
}

impl GroupState {
    /// Makes a group whose only member is the founder.
    ///
    /// Fails for a GroupInfo that is of another group, has other members than the founder or is of an epoch of 2⁶³ and
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
        let refuse = |code, message: &'static str| Refusal::new(About::Session, code, message);
        let observed = observe.found(group_info).map_err(|e| Refusal::new(About::Session, e.code(), e.to_string()))?;
        if observed.group != request.group {
            return Err(refuse(Code::Protocol, "the GroupInfo is of another group"));
        }
        if observed.epoch > NUMBER_MAX {
            return Err(refuse(Code::Protocol, "the group's epoch is out of range"));
        }
        let key = match observed.members[..] {
            [(device, key)] if device == request.device => key,
            _ => return Err(refuse(Code::Protocol, "a group begins with its founder alone")),
        };
        check_proof(&key, request, proof)?;
        let group = GroupRow {
            group: observed.group,
            suite: Suite::XWing,
            epoch: observed.epoch,
            snapshot: Bytes::from(observed.snapshot),
            group_info: Bytes::from(group_info),
            last_commit: None,
            rejected: Vec::new(),
            provisional: None,
            created_at_ms: now_ms,
        };
        let founder = MemberRow { device: request.device, key, added: 0, start: 0, acknowledged: 0, removed: None };
        let state = Self::from_rows(GroupRows {
            group: group.clone(),
            counters: Counters::default(),
            settled: 0,
            members: vec![founder.clone()],
            heads: Vec::new(),
            statements: Vec::new(),
            welcomes: Vec::new(),
            index: Vec::new(),
        });
        let writes = vec![
            Write::PutGroup(Box::new(group)),
            Write::SetCounters(state.id(), state.counters),
            Write::PutMember(state.id(), founder),
        ];
        Ok((state, Decision { writes, ..Decision::default() }))
    }

    /// Making a group that exists already: an attach for its members and former members, `GROUP_EXISTS` for everybody else.
    pub fn create_again(&self, request: &Attach, proof: &Proof) -> Result<Attachment, Refusal> {
        if !self.members.contains_key(&request.device) {
            return Err(Refusal::new(About::Session, Code::GroupExists, "a group with this id exists"));
        }
        self.attach(request, proof)
    }

    /// Attaches a member, or a former member for the commits up to its removal. Changes nothing.
    ///
    /// Fails with `NOT_MEMBER` for a stranger, `BAD_SIGNATURE` for a proof that does not hold, `PROTOCOL` for a cursor of
    /// 2⁶³ and more, and `UNKNOWN_GROUP` when the device has stored more than this relay ever had: a relay that lost data must not let it miss what comes next.
    pub fn attach(&self, request: &Attach, proof: &Proof) -> Result<Attachment, Refusal> {
        let stranger = || Refusal::new(About::Session, Code::NotMember, "the device is not in the group");
        let member = self.members.get(&request.device).ok_or_else(stranger)?;
        let view = self.view(request.device).ok_or_else(stranger)?;
        check_proof(&member.key, request, proof)?;
        if request.stored > NUMBER_MAX {
            return Err(Refusal::new(About::Session, Code::Protocol, "the stored cursor is out of range"));
        }
        if request.stored > self.counters.newest {
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
            welcome_waits: !newcomer && member.removed.is_none() && self.welcomes.contains_key(&request.device),
            receipts: by_acknowledger.into_values().cloned().collect(),
            view: View { after: view.after.max(request.stored), ..view },
        })
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

fn check_proof(key: &[u8; 32], request: &Attach, proof: &Proof) -> Result<(), Refusal> {
    let holds = attach::check(key, request.group, &proof.exporter, &proof.signature);
    holds
        .or_else(|error| if stands(Defence::AttachProof) { Err(error) } else { Ok(()) })
        .map_err(|_| Refusal::new(About::Session, Code::BadSignature, "the proof of membership does not hold"))
}

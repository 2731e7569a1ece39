//! What can be asked of a device. Nothing here changes anything.

use mls_rs::CryptoProvider;
use sync_types::body::Reached;
use sync_types::settings::Settings;
use sync_types::{Code, DeviceId, EntryHash, GroupId, Suite, encode};

use super::{Away, Device, DeviceError, records::Intent};
use crate::pairing::GroupOffer;

/// A member of the group, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its id.
    pub device: DeviceId,
    /// What it calls itself, once that is known.
    pub name: Option<String>,
    /// Whether it is this device.
    pub own: bool,
    /// When something new that it signed last came here, in milliseconds since the Unix epoch; `None` for this device.
    pub last_seen: Option<u64>,
}

/// Where a device stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStatus {
    /// Whether the relay knows it as attached now.
    pub online: bool,
    /// Whether everything that waited when it attached has been stored.
    pub caught_up: bool,
    /// The version of membership and keys.
    pub epoch: u64,
    /// The last own envelope that was sealed.
    pub sealed_seq: u64,
    /// The last own envelope that is durable at the relay.
    pub accepted_seq: u64,
    /// The last own envelope that every member has signed for.
    pub delivered_seq: u64,
    /// How many spans of history are still asked for.
    pub wants: usize,
    /// How many envelopes of others a member claims to hold that have not come here.
    pub behind: u64,
    /// How many envelopes of others neither the relay nor any member has brought, although they exist.
    pub withheld: u64,
    /// The long absence that this device comes back from, as long as it lacks anything of it.
    pub away: Option<Away>,
    /// Whether a change of the group is under way. A move that waits for members is not yet.
    pub changing: bool,
    /// Why sending stopped for good.
    pub halted: Option<Code>,
    /// Whether this device was removed.
    pub removed: bool,
    /// Until when the relay wants no pushes, in milliseconds since the Unix epoch.
    pub push_waits_until: Option<u64>,
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// This device's id in its group.
    pub fn id(&self) -> DeviceId {
        self.me
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// What the group's cryptography is made of.
    pub fn suite(&self) -> Suite {
        self.membership.suite()
    }

    /// This device's name.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.identity.name).into_owned()
    }

    /// The version of membership and keys.
    pub fn epoch(&self) -> u64 {
        self.membership.epoch()
    }

    /// What the group agreed on.
    pub fn settings(&self) -> Settings {
        self.membership.settings()
    }

    /// The GroupInfo of the present epoch, signed by this device.
    pub fn group_info(&self) -> Result<Vec<u8>, DeviceError> {
        Ok(self.membership.group_info()?)
    }

    /// The last own envelope that is durable at the relay.
    pub fn accepted_seq(&self) -> u64 {
        self.chain.accepted
    }

    /// The last own envelope that every member has signed for.
    pub fn delivered_seq(&self) -> u64 {
        self.chain.delivered
    }

    /// Whether nobody else is in the group, nor about to come.
    pub fn is_alone(&self) -> bool {
        !self.peers.values().any(|p| p.member)
    }

    /// Whether a member is being taken in.
    pub fn is_adding(&self) -> bool {
        self.intents.list.iter().any(|i| matches!(i, Intent::Add(_)))
    }

    /// Whether this device asks the others to remove it, and goes on asking at each connection.
    pub fn is_leaving(&self) -> bool {
        self.chain.leaving
    }

    /// Whether this device was removed from its group, and that is final.
    pub fn is_removed(&self) -> bool {
        self.identity.removed_by.is_some() && self.before.is_none()
    }

    /// Whether this device was removed as one that is lost, so that what it holds is to go.
    pub fn is_lost(&self) -> bool {
        self.is_removed() && self.identity.lost
    }

    /// The members in the order of their ids, this device first.
    pub fn members(&self) -> Vec<MemberInfo> {
        let own = MemberInfo { device: self.me, name: Some(self.name()), own: true, last_seen: None };
        let others = self.peers.iter().filter(|(_, p)| p.member).map(|(id, peer)| MemberInfo {
            device: *id,
            name: self.name_of(*id),
            own: false,
            last_seen: Some(peer.alive_at),
        });
        std::iter::once(own).chain(others).collect()
    }

    /// What a device calls itself, members and former members alike.
    pub fn name_of(&self, device: DeviceId) -> Option<String> {
        if device == self.me {
            return Some(self.name());
        }
        let peer = self.peers.get(&device).filter(|p| !p.name.is_empty())?;
        String::from_utf8(peer.name.0.clone()).ok()
    }

    /// Whether it is this device, or a member, present or former.
    pub fn knows(&self, device: DeviceId) -> bool {
        device == self.me || self.peers.contains_key(&device)
    }

    /// When something new that a member, present or former, has signed last came here, in milliseconds since the Unix epoch.
    pub fn last_heard(&self, device: DeviceId) -> Option<u64> {
        self.peers.get(&device).map(|peer| peer.alive_at).filter(|at| *at > 0)
    }

    /// What a newcomer has to know before it is added; for the pairing machine.
    pub fn offer(&self, now: u64) -> GroupOffer {
        let names = self.members().into_iter().filter_map(|m| m.name.map(|name| (m.device, name))).collect();
        GroupOffer { group: self.group, sponsor: self.me, settings: encode(&self.settings()), names, time_ms: now }
    }

    /// Where the device stands.
    pub fn status(&self) -> DeviceStatus {
        let session = self.session.as_ref().filter(|s| s.attached);
        DeviceStatus {
            online: self.relays().iter().any(|relay| relay.attached),
            caught_up: self.is_caught_up(),
            epoch: self.membership.epoch(),
            sealed_seq: self.chain.seq,
            accepted_seq: self.chain.accepted,
            delivered_seq: self.chain.delivered,
            wants: self.wants.list.len(),
            behind: self.behind(),
            withheld: self.withheld(),
            away: self.away(),
            changing: self.pending.is_some()
                || self.before.is_some()
                || self.intents.list.iter().any(|intent| self.is_ready(intent)),
            halted: self.identity.halted(),
            removed: self.is_removed(),
            push_waits_until: session.map(|s| s.push_after).filter(|at| *at > 0),
        }
    }

    /// Where every chain stands that this device knows, its own included. That of a former member ends at its cut, even where
    /// this device lacks something before: it is history for a newcomer, whoever has it.
    pub(super) fn frontier(&self) -> Vec<Reached> {
        let own = Reached { sender: self.me, seq: self.chain.seq, hash: self.chain.hash };
        let others = self.peers.iter().map(|(id, p)| match p.cut {
            Some(cut) if cut > p.seq => Reached { sender: *id, seq: cut, hash: EntryHash::default() },
            _ => Reached { sender: *id, seq: p.seq, hash: p.hash },
        });
        std::iter::once(own).chain(others).filter(|r| r.seq > 0).collect()
    }
}

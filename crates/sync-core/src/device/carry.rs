//! Acknowledgements carried from one relay to another.
//!
//! A member may come to another relay of the group than its fellows, above all where members host the mailboxes and are seldom up together.
//! What it signed for counts wherever it is said. So a device that has its statement from one relay brings it to the others, if they do not
//! show within some seconds that they have it: as most do, since its signer told them itself. It keeps what it
//! heard on its disk: the one relay may be gone, and the device started anew, before it meets the other.

use std::collections::BTreeMap;

use mls_rs::CryptoProvider;
use sync_rules::statement::verify_acknowledgement;
use sync_types::frame::{Acknowledge, Acknowledgement, ToRelay};
use sync_types::{DeviceId, Opaque, encode};

use super::Device;
use super::session::Session;
use crate::RelayId;
use crate::store::Key;

/// For how long a relay may show that it has a statement by itself, in milliseconds.
const CARRY_AFTER_MS: u64 = 10_000;
/// How long to wait before statements that were refused are carried again, in milliseconds.
const CARRY_AGAIN_MS: u64 = 60_000;
/// Up to how many members each acknowledgement names all of them in a group with several relays, so that whoever hears of it can carry
/// the whole. In a larger one only the first of a connection does, as what all say of all grows with the square.
pub(super) const NAMES_ALL: usize = 16;

/// How large a statement may be that is kept, in bytes: one of the largest group, with a hole for each sender, fits.
const KEPT_BYTES: usize = 16 << 10;

/// The newest statement of each other member that this device has verified.
#[derive(Default)]
pub(super) struct Statements(BTreeMap<DeviceId, Acknowledgement>);

impl Statements {
    pub(super) fn of(&self, by: DeviceId) -> Option<&Acknowledgement> {
        self.0.get(&by)
    }

    /// One that was kept.
    pub(super) fn take_row(&mut self, by: DeviceId, statement: Acknowledgement) {
        self.0.insert(by, statement);
    }
}

/// The members whose statements are to be brought to one relay, and when, in milliseconds.
pub(super) type ToCarry = BTreeMap<DeviceId, u64>;

impl<P: CryptoProvider + Clone> Device<P> {
    /// A member's statement of so many bytes came from the relay that is looked at.
    pub(super) fn heard(&mut self, statement: &Acknowledgement, bytes: usize, now: u64) {
        if !self.has_several() || bytes > KEPT_BYTES {
            return;
        }
        let by = statement.device;
        let members = || self.peers.iter().filter(|(_, peer)| peer.member).map(|(id, _)| *id).chain([self.me]);
        let says_more = |one: &Acknowledgement, other: &Acknowledgement| {
            members().any(|sender| one.signed_below(sender) > other.signed_below(sender))
        };
        let known = self.statements.0.get(&by);
        let news = known.is_none_or(|known| says_more(statement, known));
        let lacks = known.is_some_and(|known| says_more(known, statement));
        let signed = |key| verify_acknowledgement(&self.group, statement, key).is_ok();
        if news && !self.peers.get(&by).is_some_and(|peer| peer.member && signed(&peer.key)) {
            return;
        }
        if let Some(session) = self.session.as_mut().filter(|_| news || !lacks) {
            session.to_carry.remove(&by);
        }
        if news {
            self.statements.0.insert(by, statement.clone());
            self.lazy.insert(Key::Statement(by));
            let stays = |by: &DeviceId| self.peers.get(by).is_some_and(|peer| peer.member);
            let former = self.statements.0.extract_if(.., |by, _| !stays(by));
            self.lazy.extend(former.map(|(by, _)| Key::Statement(by)));
            let at = now.saturating_add(CARRY_AFTER_MS);
            for relay in self.others() {
                if let Some(session) = self.parked_session(relay) {
                    session.to_carry.insert(by, at);
                }
            }
        }
    }

    /// The relay that is looked at is brought all statements at this time, unless it shows that it has them.
    fn carry_all(&mut self, at: u64) {
        let all = self.statements.0.keys().map(|by| (*by, at)).collect();
        if let Some(session) = &mut self.session {
            session.to_carry = all;
        }
    }

    /// The relay that is looked at has just taken this device in.
    pub(super) fn carry_to_attached(&mut self, now: u64) {
        self.carry_all(now.saturating_add(CARRY_AFTER_MS));
    }

    /// The relay that is looked at has refused an acknowledgement, which may be one that was carried.
    pub(super) fn carry_again(&mut self, now: u64) {
        self.carry_all(now.saturating_add(CARRY_AGAIN_MS));
    }

    /// Brings the relay that is looked at what is due.
    pub(super) fn carry(&mut self, now: u64) {
        if !self.session.as_ref().is_some_and(|session| self.may_carry(session)) {
            return;
        }
        let Some(session) = &mut self.session else { return };
        let due: Vec<DeviceId> = session.to_carry.extract_if(.., |_, at| *at <= now).map(|(by, _)| by).collect();
        let members = due.iter().filter(|by| self.peers.get(by).is_some_and(|peer| peer.member));
        for statement in members.filter_map(|by| self.statements.0.get(by)) {
            let statement = Opaque(encode(statement));
            self.sends.push(ToRelay::Acknowledge(Acknowledge { cursor: 0, statement }));
        }
    }

    /// When [`Device::carry`] has something to do at a relay.
    pub(super) fn carries_at(&self, relay: RelayId) -> Option<u64> {
        let session = self.session_of(relay).filter(|session| self.may_carry(session))?;
        session.to_carry.values().min().copied()
    }

    /// A relay that does not stand at this device's epoch knows some members not yet, or no more.
    fn may_carry(&self, session: &Session) -> bool {
        session.attached
            && session.caught_up
            && session.acknowledge_after == 0
            && session.relay_epoch == self.membership.epoch()
            && self.before.is_none()
            && self.identity.halted == 0
            && !self.is_removed()
    }
}

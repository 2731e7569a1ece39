//! Moving the group to another suite: asking the others for key packages of it, answering, and what is told of it.

use mls_rs::CryptoProvider;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use rand_core::CryptoRng;
use sync_rules::mls::{RANDOM, cipher_suite};
use sync_types::body::{Control, SuitePackage, SuiteWanted};
use sync_types::{Code, DeviceId, Opaque, Suite, limits};
use zeroize::Zeroize;

use super::records::Intent;
use super::{Device, DeviceError};
use crate::event::Setting;
use crate::membership::{Applied, key_package, read_key_package};
use crate::store::Key;

/// What a device holds for a move of its group, as the one that asks for it or as one that was asked.
#[derive(Clone, Default, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Moving {
    /// The number of this device's last asking.
    number: u64,
    /// What makes the successor's MLS group id one of its own.
    random: [u8; RANDOM],
    /// Whom it asked.
    asked: Vec<DeviceId>,
    /// The key packages that came.
    packages: Vec<Came>,
    /// Whom this device owes an answer.
    owed: Vec<DeviceId>,
    /// What it answers each that asked, the last time that it did.
    given: Vec<Given>,
}

impl Moving {
    /// The secrets of the key packages that this device gave away.
    pub(super) fn secrets(&self) -> Vec<&[u8]> {
        self.given.iter().map(|given| &given.secrets[..]).filter(|secrets| !secrets.is_empty()).collect()
    }

    /// This device has another key: what it gave away was under the one before, and so was its own asking. What it got is good.
    pub(super) fn rekeyed(&mut self) {
        self.given.clear();
        self.owed.clear();
        self.asked.clear();
    }
}

/// Another member's key package.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
struct Came {
    device: DeviceId,
    message: Opaque,
}

/// A key package of this device, with its secrets; both empty where its build has no part in the suite that was asked for.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
struct Given {
    asker: DeviceId,
    number: u64,
    message: Opaque,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    secrets: Vec<u8>,
}

impl Drop for Given {
    fn drop(&mut self) {
        self.secrets.zeroize();
    }
}

/// A move of the group that this device was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveStatus {
    /// Where to.
    pub to: Suite,
    /// Members that have not answered yet, in the order of their ids. With none left it is a matter of moments.
    pub waits_for: Vec<DeviceId>,
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// Moves the group to another suite, as soon as each member has given a key package of it.
    /// [`Event::SettingsChanged`](crate::Event::SettingsChanged) tells when it is done,
    /// [`Event::ChangeFailed`](crate::Event::ChangeFailed) of this device that it cannot be. The group's recovery kit, if it has
    /// one, ends with the suite that it was made for. To move to the suite that the group has takes back a move that waits.
    pub fn move_to_suite(&mut self, suite: Suite, now: u64, rng: &mut dyn CryptoRng) -> Result<(), DeviceError> {
        self.check_may_change()?;
        if self.crypto.cipher_suite_provider(cipher_suite(suite)).is_none() {
            return Err(DeviceError::Suite);
        }
        self.end_moves();
        // One that is made already leads there, and by the key packages that the others have the secrets of.
        if suite != self.suite() && self.wanted_suite() != Some(suite) {
            self.moving.number += 1;
            (self.moving.asked, self.moving.packages) = (Vec::new(), Vec::new());
            rng.fill_bytes(&mut self.moving.random);
            self.dirty.insert(Key::Moving);
            self.want_change(Intent::Suite(suite as u8));
        }
        self.pump(now, rng);
        Ok(())
    }

    /// Takes back a move that waits. One that the relay may have ordered already goes on.
    fn end_moves(&mut self) {
        let ordered = self.pending.as_ref().map(|pending| pending.intent.clone());
        let before = self.intents.list.len();
        self.intents.list.retain(|i| !matches!(i, Intent::Suite(_)) || ordered.as_ref() == Some(i));
        if self.intents.list.len() != before {
            self.dirty.insert(Key::Intents);
        }
    }

    /// The move that this device was asked for and that is not done.
    pub fn moving(&self) -> Option<MoveStatus> {
        let to = self.wanted_suite()?;
        Some(MoveStatus { to, waits_for: self.not_answered().collect() })
    }

    fn wanted_suite(&self) -> Option<Suite> {
        self.intents.list.iter().find_map(|intent| match intent {
            Intent::Suite(suite) => Suite::from_wire(*suite).ok(),
            _ => None,
        })
    }

    fn not_answered(&self) -> impl Iterator<Item = DeviceId> {
        let others = self.peers.iter().filter(|(_, peer)| peer.member).map(|(id, _)| *id);
        others.filter(|id| !self.moving.packages.iter().any(|came| came.device == *id))
    }

    /// Whether this change may be made now: a move waits for everybody.
    pub(super) fn is_ready(&self, intent: &Intent) -> bool {
        !matches!(intent, Intent::Suite(_)) || self.not_answered().next().is_none()
    }

    /// The key packages of the present members, and what makes the successor one of its own.
    pub(super) fn packages(&self) -> (Vec<Vec<u8>>, [u8; RANDOM]) {
        let present = self.moving.packages.iter().filter(|c| self.peers.get(&c.device).is_some_and(|p| p.member));
        (present.map(|came| came.message.0.clone()).collect(), self.moving.random)
    }

    /// What is to be said of a move: what this device owes it answers; whom it has not asked yet it asks, and with a beacon
    /// whoever has not answered. The question may be lost to one that was away for long.
    pub(super) fn due_suite_control(&mut self, with_beacon: bool, now: u64) -> Option<Control> {
        while let Some(asker) = self.moving.owed.pop() {
            self.dirty.insert(Key::Moving);
            if let Some(given) = self.moving.given.iter().find(|given| given.asker == asker) {
                let (number, key_package) = (given.number, given.message.clone());
                return Some(Control::SuitePackage(SuitePackage { asker, number, key_package }));
            }
        }
        let suite = self.wanted_suite()?;
        let of: Vec<DeviceId> =
            self.not_answered().filter(|id| with_beacon || !self.moving.asked.contains(id)).collect();
        if of.is_empty() {
            return None;
        }
        self.moving.asked.retain(|id| !of.contains(id));
        self.moving.asked.extend(&of);
        self.dirty.insert(Key::Moving);
        Some(Control::SuiteWanted(SuiteWanted { number: self.moving.number, suite: suite as u8, time_ms: now, of }))
    }

    /// A member was away for long.
    pub(super) fn ask_for_suite_again(&mut self, device: DeviceId) {
        let before = self.moving.asked.len();
        self.moving.asked.retain(|id| *id != device);
        if self.moving.asked.len() != before {
            self.dirty.insert(Key::Moving);
        }
    }

    /// A member wants to move the group. Whether it may, nobody is asked: any member may, and each is told who did. It gets one
    /// key package for each of its askings, however often it says it.
    pub(super) fn suite_wanted(&mut self, asker: DeviceId, wanted: &SuiteWanted) {
        if !wanted.of.iter().take(limits::MEMBERS).any(|id| *id == self.me) {
            return;
        }
        let moving = &mut self.moving;
        if !moving.given.iter().any(|given| given.asker == asker && given.number == wanted.number) {
            let suite = Suite::from_wire(wanted.suite).ok();
            let made = suite.and_then(|s| key_package(self.crypto.clone(), s, &self.key, wanted.time_ms).ok());
            let (message, secrets) = made.map(|made| (made.message, made.secrets.to_vec())).unwrap_or_default();
            moving.given.retain(|given| given.asker != asker);
            moving.given.push(Given { asker, number: wanted.number, message: Opaque(message), secrets });
        }
        moving.owed.retain(|owed| *owed != asker);
        moving.owed.push(asker);
        self.dirty.insert(Key::Moving);
    }

    /// A member answers.
    pub(super) fn suite_package(&mut self, sender: DeviceId, package: SuitePackage) {
        let Some(suite) = self.wanted_suite() else { return };
        if package.asker != self.me || package.number != self.moving.number || !self.moving.asked.contains(&sender) {
            return;
        }
        if package.key_package.is_empty() {
            // Its build has no part in that suite, so the group cannot go there.
            return self.give_up(&Intent::Suite(suite as u8), Code::Suite);
        }
        let read = read_key_package(&package.key_package);
        let key = self.peers.get(&sender).map(|peer| peer.key);
        let fits = read.is_ok_and(|(device, its, of)| device == sender && Some(its) == key && of == suite);
        if fits && !self.moving.packages.iter().any(|came| came.device == sender) {
            self.moving.packages.push(Came { device: sender, message: package.key_package });
            self.dirty.insert(Key::Moving);
        }
    }

    /// A commit has moved the group.
    pub(super) fn moved(&mut self, applied: &Applied, now: u64) {
        let next = self.agreed.next.take().map(|next| Intent::Kit(next.key));
        if let Some(kit) = next.filter(|kit| self.intents.list.contains(kit)) {
            // It was made for the suite before.
            self.give_up(&kit, Code::Suite);
            self.dirty.insert(Key::Agreed);
        }
        self.note_change(Setting::Suite, applied.committer, applied.hash, now);
    }

    /// A move is final: what led there is erased. Another one asks anew.
    pub(super) fn forget_move(&mut self) {
        self.moving = Moving { number: self.moving.number, ..Moving::default() };
        self.dirty.insert(Key::Moving);
    }
}

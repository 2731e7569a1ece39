//! More of those who do not keep to the protocol: a relay that stalls and tells devices to wait, a stranger at its door, a member
//! that undoes what it could apply, a former member with all that it had, and disks that run twice.

use mls_rs_codec::MlsEncode;
use sync_core::membership::{Change, Membership};
use sync_core::store::Key;
use sync_core::{Event, seal};
use sync_rules::mls::CommitMessage;
use sync_rules::statement::sign_reject;
use sync_rules::{SigningKey, attach};
use sync_types::body::{Blob, Body, pack};
use sync_types::envelope::Header;
use sync_types::frame::{About, Attach, Cut, EntryKind, FromRelay, Reject, Signature, ToRelay};
use sync_types::{BlobId, Code, DeviceId, GroupId, Opaque, Suite, VERSION, encode};

use super::devices::Life;
use super::{Ev, World};
use crate::relay::ConnId;

impl World {
    /// One of these happens, if it can.
    pub(super) fn act_out(&mut self, host: usize) {
        match self.dice.below(5) {
            0 => self.stall(host),
            1 => self.stranger(host),
            2 => self.false_reject(host),
            3 => self.weather.tells_to_wait = true,
            _ => self.former_content(),
        }
    }

    /// From now on the relay says nothing on this connection, and keeps it open.
    fn stall(&mut self, host: usize) {
        let member = matches!(self.hosts[host].life, Life::Member(_));
        if let Some(conn) = self.hosts[host].conn.filter(|_| member) {
            self.counters.add("hostile stall");
            self.note(|_| format!("the relay stalls on connection {conn}"));
            self.stalled.insert(conn);
        }
    }

    /// What a relay says goes no further where it stalls. Elsewhere it may have a device wait for seven weeks.
    pub(super) fn maybe_stall(&mut self, conn: ConnId, frame: FromRelay) -> Option<FromRelay> {
        if self.stalled.contains(&conn) {
            self.counters.add("hostile stalled frame");
            return None;
        }
        let FromRelay::Refused(mut refused) = frame else { return Some(frame) };
        let waits = matches!(refused.about, About::Push | About::Commit | About::Acknowledge);
        if self.weather.tells_to_wait && waits && !self.quiet && self.dice.chance(300) {
            self.counters.add("hostile wait");
            refused.retry_after_ms = u32::MAX;
        }
        Some(FromRelay::Refused(refused))
    }

    /// At rest the relay does its duty again: whoever had nothing to wait for on a silent connection is told that it is over.
    pub(super) fn end_stalls(&mut self) {
        self.weather.tells_to_wait = false;
        for conn in std::mem::take(&mut self.stalled) {
            self.break_conn(conn);
        }
    }

    /// A device has left a relay that owed it an answer.
    pub(super) fn note_patience(&mut self, host: usize, event: &Event) {
        if matches!(event, Event::Disconnect { code: Code::Timeout, .. }) {
            // Days may pass before an end of a broken stream is heard of.
            let stalled =
                self.hosts[host].conn.is_none_or(|conn| self.stalled.contains(&conn) || self.is_closing(conn));
            // A line may be slow, but not that slow; and a liar's or a hostile relay's change may never be confirmed.
            let known = stalled || self.weather.hostile || self.weather.liars || self.weather.restores;
            if !known {
                return self.fail("patience", format!("device {host} leaves a relay that does what it owes"));
            }
            self.counters.add("left a stalled relay");
        }
    }

    /// Somebody who is no member comes with a group's id and a device's.
    fn stranger(&mut self, host: usize) {
        let (Some(group), Some(device)) = (self.hosts[host].last_group, self.hosts[host].last_id) else { return };
        let key = SigningKey::from_seed(&self.dice.bytes());
        let device = if self.dice.chance(500) { device } else { key.device_id() };
        let (conn, exporter) = (self.next_conn, self.dice.bytes());
        self.next_conn += 1;
        let proof = Signature(attach::prove(&key, group, &exporter));
        self.counters.add("hostile stranger");
        self.relay.open(conn, exporter);
        self.strangers.insert(conn);
        let attach =
            ToRelay::Attach(Attach { version: VERSION, suite: Suite::FOUNDED as u8, group, device, stored: 0, proof });
        self.relay.frame(conn, attach, 200, self.now);
    }

    /// Whether this connection is a stranger's, who is shown nothing but a refusal.
    pub(super) fn is_strangers(&mut self, conn: ConnId, frame: &FromRelay) -> bool {
        if !self.strangers.contains(&conn) {
            return false;
        }
        match frame {
            FromRelay::Refused(_) => self.counters.add("stranger refused"),
            other => self.fail("strangers", format!("a stranger is told {other:?}")),
        }
        true
    }

    /// A member says that it could not apply a change that it could.
    fn false_reject(&mut self, host: usize) {
        let Some(group) = self.hosts[host].active().map(sync_core::Device::group) else { return };
        let (Some(conn), Some(model)) = (self.hosts[host].conn, self.relay.model.get(&group)) else { return };
        let (Some(commit), true) = (model.commits.last(), model.is_provisional()) else { return };
        let commit_hash = CommitMessage::hash(commit);
        let (Some(device), Some(epoch)) = (self.hosts[host].last_id, CommitMessage::parse(commit).ok()) else { return };
        let Some(key) = self.stolen_key(device) else { return };
        let mut reject = Reject { device, epoch: epoch.epoch + 1, commit_hash, signature: Signature([0; 64]) };
        sign_reject(&key, &group, &mut reject);
        self.counters.add("hostile false reject");
        self.note(|_| format!("device {host} rejects what it could apply"));
        self.lied.insert(group);
        self.relay.frame(conn, ToRelay::Reject(Opaque(encode(&reject))), 200, self.now);
    }

    /// A former member in league with the relay: a true envelope with a blob, under the last key that it had, or a change of the
    /// group as it knew it.
    fn former_content(&mut self) {
        let is_removed = |host: &usize| self.hosts[*host].device().is_some_and(sync_core::Device::is_removed);
        let former: Vec<usize> = (0..self.hosts.len()).filter(is_removed).collect();
        let Some(host) = self.dice.pick(&former).copied() else { return };
        let Some(device) = self.hosts[host].device() else { return };
        let (group, id, epoch) = (device.group(), device.id(), device.epoch());
        if !self.weather.hostile || self.relay.has_pending() || !self.relay.model.contains_key(&group) {
            return;
        }
        let made = if self.dice.chance(500) {
            self.true_envelope(host, group, id, epoch)
                .map(|bytes| ("hostile former content", EntryKind::Envelope, bytes))
        } else {
            self.former_commit(host).map(|bytes| ("hostile former commit", EntryKind::Commit, bytes))
        };
        let Some((name, kind, bytes)) = made else { return };
        let readers = self.relay.model.get(&group).is_some_and(|m| m.has_reader_beside(id));
        if readers && self.relay.inject(group, kind, id, &bytes) {
            self.counters.add(name);
            self.note(|_| format!("{name} of device {host}"));
        }
    }

    fn true_envelope(&mut self, host: usize, group: GroupId, id: DeviceId, epoch: u64) -> Option<Vec<u8>> {
        let model = self.relay.model.get(&group)?;
        let last = model.placed.get(&(id, *model.heads.get(&id)?))?.bytes.clone();
        let row = self.hosts[host].disk.state.get(&Key::Epoch(epoch))?.clone();
        let secret: [u8; 32] = row.get(..32)?.try_into().ok()?;
        let tag = row.get(32..40)?.try_into().ok()?;
        let header = Header { epoch, epoch_tag: tag, nonce: self.dice.bytes(), ..super::hostile::follower(&last)? };
        let blob =
            Blob { id: BlobId(self.dice.bytes()), channel: "notes".into(), data: vec![0xff; 20], snapshot: false };
        let body = Body { blobs: pack([&blob]), ..Body::default() };
        let key = self.stolen_key(id)?;
        Some(seal::seal(group, &header, &encode(&body), &secret, &key).bytes)
    }

    fn former_commit(&mut self, host: usize) -> Option<Vec<u8>> {
        let h = &self.hosts[host];
        let state = h.disk.state.get(&Key::Membership)?;
        let mut own = Membership::load(h.crypto.clone(), state).ok()?;
        let cut = Cut::default().mls_encode_to_vec().ok()?;
        Some(own.prepare(Change::SelfUpdate, cut, None, self.now).ok()?.commit)
    }

    /// A copy of the device's disk is started beside it: two live devices with one key.
    pub(super) fn clone_disk(&mut self, host: usize) {
        let h = &self.hosts[host];
        let whole = h.active().is_some_and(|d| !d.is_alone() && !d.is_adding());
        let may = self.weather.restores && !self.cloned && self.hosts.len() < 6 && whole && !h.doomed && !h.leaving;
        if !may || h.pairing || h.is_busy() {
            return;
        }
        self.cloned = true;
        self.counters.add("action clone");
        let copy = self.add_host();
        self.note(|_| format!("device {copy} is a copy of device {host}"));
        self.hosts[copy].disk = self.hosts[host].disk.clone();
        self.hosts[copy].life = Life::Down;
        for one in [host, copy] {
            (self.hosts[one].set_back, self.hosts[one].cloned) = (true, true);
        }
        self.after(1, Ev::HostStart(copy));
    }
}

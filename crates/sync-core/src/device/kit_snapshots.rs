//! Leaving snapshots for whoever comes with the recovery kit. Which are to be left follows from the log, and from what the
//! relay has said that it keeps: so each is left again for a new kit, after a crash, and at a relay that has lost them.

use mls_rs::CryptoProvider;
use sync_types::frame::{KitUpload, Mac, ToRelay};
use sync_types::{BlobId, Code, Opaque};

use super::Device;
use crate::event::Event;
use crate::recovery::{KitSnapshot, seal_snapshot};
use crate::store::{LogBlob, Read, Write};

/// How far this connection is with it.
#[derive(Default)]
pub(super) struct LeavingForKit {
    /// Whether there is nothing more to leave, or nothing more to be tried.
    done: bool,
    /// What was sent and is not kept yet. One at a time, as each may be as large as an envelope.
    sent: Option<Sent>,
    /// Nothing is sent until then, in milliseconds.
    pub(super) after: u64,
    /// Why the last one was not taken.
    refused: Option<Code>,
}

struct Sent {
    id: BlobId,
    channel: String,
    kit: [u8; 32],
    mac: Mac,
}

impl<P: CryptoProvider + Clone> Device<P> {
    /// Whether this device is to leave its snapshots at the relay, sealed for the group's recovery kit. It does not by itself.
    pub fn leave_snapshots(&mut self, leave: bool) {
        if leave && !self.leaves_snapshots {
            self.look_for_kit();
        }
        self.leaves_snapshots = leave;
    }

    /// Whether it does.
    pub fn leaves_snapshots(&self) -> bool {
        self.leaves_snapshots
    }

    /// Why the relay did not take the last snapshot that was left, until it takes one, another is to be left, or the connection is
    /// another.
    pub fn kit_snapshot_refused(&self) -> Option<Code> {
        self.session.as_ref().and_then(|session| session.leaving_for_kit.refused)
    }

    /// The app has made a snapshot, which is in the log or kept for the kit alone.
    pub fn handle_snapshot(&mut self) {
        self.look_for_kit();
    }

    /// The app has made a snapshot that is too large to be left: whoever comes with the kit finds none of its channel.
    pub fn handle_large_snapshot(&mut self, channel: &str) {
        self.look_for_kit();
        if !self.leaves_snapshots || self.membership.settings().recovery().is_none() {
            return;
        }
        if let Some(session) = &mut self.session {
            session.leaving_for_kit.refused = Some(Code::TooLarge);
        }
        self.events.push(Event::LeftForKit { channel: channel.to_owned(), refused: Some(Code::TooLarge) });
    }

    /// There may be something to leave.
    pub(super) fn look_for_kit(&mut self) {
        if let Some(session) = &mut self.session {
            (session.leaving_for_kit.done, session.leaving_for_kit.refused) = (false, None);
        }
    }

    pub(super) fn kit_read(&self, now: u64) -> Option<Read> {
        let session = self.session.as_ref().filter(|s| self.leaves_snapshots && s.attached && s.caught_up)?;
        let leaving = &session.leaving_for_kit;
        let quiet = self.before.is_none() && self.identity.halted == 0 && !self.is_removed();
        if leaving.done || leaving.sent.is_some() || leaving.after > now || !quiet {
            return None;
        }
        self.agreed.share.as_ref()?;
        let kit = self.membership.settings().recovery()?;
        let others = self.peers.iter().filter(|(_, peer)| peer.member).map(|(id, _)| *id).collect();
        Some(Read::ForKit { kit, relay: self.at, others })
    }

    pub(super) fn leave_for_kit(&mut self, found: Option<Box<LogBlob>>, now: u64) {
        let share = self.agreed.share.clone();
        let (Some(found), Some(share), Some(kit)) = (found, share, self.membership.settings().recovery()) else {
            self.session_mut().leaving_for_kit.done = true;
            return;
        };
        let LogBlob { sender: maker, blob, covers, .. } = *found;
        let (id, channel) = (blob.id, blob.channel);
        let snapshot = KitSnapshot {
            device: self.me,
            maker,
            at: now,
            id,
            channel: Opaque(channel.clone().into_bytes()),
            covers,
            data: Opaque(blob.data),
        };
        let sealed = seal_snapshot(&self.crypto, self.suite(), &self.group, &kit, &share, &snapshot);
        let leaving = &mut self.session_mut().leaving_for_kit;
        leaving.refused = None;
        match sealed {
            Ok(sealed) => {
                leaving.sent = Some(Sent { id, channel, kit, mac: sealed.mac });
                self.sends.push(ToRelay::Kit(KitUpload::Snapshot(sealed)));
            }
            Err(_) => self.not_left(channel, Code::Suite),
        }
    }

    pub(super) fn kit_kept(&mut self, mac: Mac) {
        let relay = self.at;
        let Some(sent) = self.session_mut().leaving_for_kit.sent.take_if(|sent| sent.mac == mac) else { return };
        self.writes.push(Write::KitKept { id: sent.id, kit: sent.kit, relay });
        self.events.push(Event::LeftForKit { channel: sent.channel, refused: None });
    }

    pub(super) fn kit_refused(&mut self, code: Code, now: u64, retry: u64) {
        let leaving = &mut self.session_mut().leaving_for_kit;
        let Some(sent) = leaving.sent.take() else { return };
        match retry {
            // Once a connection, and when there is another snapshot or kit.
            0 => self.not_left(sent.channel, code),
            _ => leaving.after = now + retry,
        }
    }

    /// Nothing more is tried on this connection.
    fn not_left(&mut self, channel: String, code: Code) {
        let leaving = &mut self.session_mut().leaving_for_kit;
        (leaving.done, leaving.refused) = (true, Some(code));
        self.events.push(Event::LeftForKit { channel, refused: Some(code) });
    }

    /// The time of [`LeavingForKit::after`] has come.
    pub(super) fn go_on_leaving_for_kit(&mut self, now: u64) {
        if let Some(session) = self.session.as_mut().filter(|s| s.leaving_for_kit.after <= now) {
            session.leaving_for_kit.after = 0;
        }
    }
}

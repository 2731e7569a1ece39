//! Envelopes that are made with a device's own keys, by whoever has its disk, and opened.

use sync_core::seal::{open, seal};
use sync_core::store::Key;
use sync_types::body::Body;
use sync_types::envelope::{Class, Envelope, Header};
use sync_types::frame::Head;
use sync_types::{Suite, VERSION, decode, encode};

use super::Lab;

impl Lab {
    /// An envelope in a device's name, under an epoch's key that it has: what somebody with its disk can make.
    pub(crate) fn seal(&self, party: usize, epoch: u64, last: Option<&Head>, body: &Body) -> Vec<u8> {
        self.seal_as(party, party, epoch, last, body)
    }

    /// The same in the name of another, whose key it does not have.
    pub(crate) fn seal_as(&self, party: usize, name: usize, epoch: u64, last: Option<&Head>, body: &Body) -> Vec<u8> {
        let class = if body.control.is_empty() { Class::Data } else { Class::Control };
        self.seal_plain((party, name), epoch, last, &encode(body), class)
    }

    /// An envelope in a device's name around any bytes.
    pub(crate) fn seal_bytes(
        &self,
        party: usize,
        epoch: u64,
        last: Option<&Head>,
        plain: &[u8],
        data: bool,
    ) -> Vec<u8> {
        let class = if data { Class::Data } else { Class::Control };
        self.seal_plain((party, party), epoch, last, plain, class)
    }

    /// An envelope in a device's name, sealed by some suite.
    pub(crate) fn seal_by(&self, suite: Suite, party: usize, epoch: u64, last: Option<&Head>, plain: &[u8]) -> Vec<u8> {
        self.seal_in(suite, (party, party), epoch, last, plain, Class::Data)
    }

    fn seal_plain(
        &self,
        names: (usize, usize),
        epoch: u64,
        last: Option<&Head>,
        plain: &[u8],
        class: Class,
    ) -> Vec<u8> {
        self.seal_in(self.parties[names.0].device.suite(), names, epoch, last, plain, class)
    }

    fn seal_in(
        &self,
        suite: Suite,
        (party, name): (usize, usize),
        epoch: u64,
        last: Option<&Head>,
        plain: &[u8],
        class: Class,
    ) -> Vec<u8> {
        let row = &self.parties[party].disk.state[&Key::Epoch(epoch)];
        let secret: [u8; 32] = row[..32].try_into().expect("the secret stands first");
        let header = Header {
            version: VERSION,
            suite: suite as u8,
            class,
            epoch,
            epoch_tag: row[32..40].try_into().expect("behind it the tag"),
            sender: self.id(name),
            seq: last.map_or(0, |head| head.seq) + 1,
            previous: last.map(|head| head.hash).unwrap_or_default(),
            nonce: [self.blobs as u8; 24],
        };
        seal(self.group(party), &header, plain, &secret, &self.key(party)).bytes
    }

    /// What is in an envelope, for a device that has its epoch's key.
    pub(crate) fn opened(&self, party: usize, envelope: &[u8]) -> Option<Body> {
        let envelope = Envelope::parse(envelope).ok()?;
        let row = self.parties[party].disk.state.get(&Key::Epoch(envelope.header.epoch))?;
        let secret: [u8; 32] = row[..32].try_into().expect("the secret stands first");
        decode(&open(self.group(party), &envelope, &secret).ok()?).ok()
    }
}

//! Presence: live only, never stored.

use sync_types::envelope::{Class, Header, padded_len};
use sync_types::frame::About;
use sync_types::{Code, DeviceId, Envelope, Opaque, limits};

use super::{Decision, GroupState, Notice, Refusal};

impl GroupState {
    /// Hands a device's own ephemeral envelope of the present epoch on to whoever is attached. How often it may do so is the
    /// session's concern.
    pub fn presence(&self, device: DeviceId, envelope: Opaque) -> Result<Decision, Refusal> {
        let refuse = |code, message: &'static str| Refusal::new(About::Presence, code, message);
        self.current_member(device, About::Presence)?;
        if envelope.len() > largest() {
            return Err(refuse(Code::TooLarge, "presence is larger than the limit"));
        }
        let parsed =
            Envelope::parse(&envelope).map_err(|e| Refusal::new(About::Presence, e.code(), e.to_string()))?.header;
        if parsed.class != Class::Ephemeral || parsed.sender != device {
            return Err(refuse(Code::Protocol, "presence is an ephemeral envelope of the device itself"));
        }
        if !self.may_be_of_suite(&parsed) {
            return Err(refuse(Code::Suite, "the envelope is of another suite than its group"));
        }
        if parsed.epoch != self.confirmed_epoch() {
            return Err(refuse(Code::StaleEpoch, "presence is of the present epoch"));
        }
        Ok(Decision { notices: vec![Notice::Presence { from: device, envelope }], ..Decision::default() })
    }
}

/// The largest presence envelope in bytes: the payload, a channel and the lengths around them, padded and sealed.
fn largest() -> usize {
    let lengths = 32;
    Header::LEN + 4 + padded_len(limits::PRESENCE_BYTES + limits::CHANNEL_BYTES + lengths) + 16 + 64
}

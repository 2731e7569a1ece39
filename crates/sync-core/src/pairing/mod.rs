//! Pairing: how a newcomer and a member of a group meet over a link, make sure of each other and agree.
//!
//! [`Pairing`] is one side of one attempt, without sockets, clock or randomness of its own:
//!
//! - [`Pairing::show`] or [`Pairing::scan`] starts it. Both sides then meet in the relay's rendezvous [`Pairing::slot`]. With a
//!   short code it is [`Pairing::show_code`] or [`Pairing::type_code`], and the two meet at the code's nameplate.
//! - What the other side laid down there goes, in order, into [`Pairing::handle_message`].
//! - What persons and the group's code answer goes into [`Pairing::type_check`], [`Pairing::consent`],
//!   [`Pairing::key_package`], [`Pairing::offer`] and [`Pairing::offer_stored`].
//! - After each of these [`Pairing::poll_output`] is called until it returns `None`. [`Pairing::poll_timeout`] says when
//!   [`Pairing::handle_timeout`] is due.
//!
//! ```text
//!  scanner (Noise initiator)                  shower (Noise responder)
//!     hybridXXpsk0, four messages: psk and prologue from the link;
//!     before the third the scanner compares the shower's static keys with the link's fingerprint
//!  shows the check code              ──person──▶  has it typed
//!
//!  member                                     newcomer
//!     Hello: time, app                   ──▶  makes its key package
//!                                        ◀──  Checked (only if the newcomer was the one to type)
//!     asks the person                    ◀──  Join: key package, name
//!     Offer: group, sponsor, settings    ──▶  stores it
//!     uploads the commit                 ◀──  Taken
//! ```
//!
//! With a short code, SPAKE2 over its words comes first, and gives psk and prologue; then there are neither fingerprint nor
//! check code, and the member's person is asked for a plain yes:
//!
//! ```text
//!  types (SPAKE2 side A, Noise initiator)     shows (SPAKE2 side B, Noise responder)
//!     Pake 1: version, suite, app,       ──▶  refuses points outside of the group
//!             side, nameplate, point     ◀──  Pake 2: the same of its own
//!     the handshake's first message      ──▶  opens only if both have the same words; else the code is burnt
//! ```
//!
//! Whoever does not know the words has one guess in 2³³ for each exchange, the relay too: towards each of the two sides. The
//! first wrong guess ends the pairing on the side that it met, and that tells the other.
//!
//! What the parts are for: the secret in the link keeps out whoever has not seen it, the relay too. The fingerprint keeps
//! out whoever has seen the link and answers in the shower's place. The check code keeps out whoever has seen the link
//! and scans it first: it does not know what the person types, and has [`limits::CHECK_CODE_TRIES`] guesses in 10,000.
//!
//! [`limits::CHECK_CODE_TRIES`]: sync_types::limits::CHECK_CODE_TRIES

mod adapters;
mod approved;
mod derive;
mod error;
mod event;
mod machine;
mod member;
mod message;
mod name;
mod newcomer;
mod noise;
mod pake;
pub mod primitives;

#[cfg(test)]
mod tests;

pub use derive::{SlotId, app_tag, slot_id};
pub use error::PairingError;
pub use event::{Consent, GroupOffer, KEY_PACKAGE_BYTES, Output, SETTINGS_BYTES};
pub use machine::Pairing;
pub use message::is_channel_message;
pub use name::check_name;

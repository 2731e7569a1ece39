//! What a member and a relay both have to check, in one place, so that they cannot come to differ: labelled hashes,
//! strict Ed25519, the id of a device, the proof that a connection is a device's, and the rules of a group's commits
//! with the observer that a relay runs over them.
//!
//! No I/O, no clock, no storage.

pub mod attach;
pub mod defence;
pub mod envelope;
pub mod hash;
pub mod mls;
pub mod observer;
pub mod sign;
pub mod statement;

pub use defence::Defence;
pub use hash::{device_id, labelled};
pub use observer::{Inspected, Moved, Observe, ObserveError, Observed, Observer, Step, unsigned_group_info};
pub use sign::{BadSignature, SigningKey, check_key, sign, verify};

//! The client's protocol without I/O: membership, keys, envelopes, chains, delivery and pairing.
//!
//! Nothing here opens a socket or a file, reads a clock or draws randomness by itself: time comes in as milliseconds
//! since the Unix epoch, randomness as a generator, bytes as frames; what is to be written and sent comes out. So the
//! engine, the tests and the simulator run the very same code.
//!
//! [`Device`] is a member of a group, [`Joining`] a newcomer between pairing and Welcome, [`pairing`] how it gets there,
//! [`recovery`] how a device comes back when every other is lost, [`vault`] what of it lies on a disk.

pub mod approved;
pub mod device;
pub mod event;
pub mod membership;
pub mod pairing;
pub mod recovery;
mod relay_id;
pub mod seal;
pub mod store;
pub mod vault;

pub use device::{
    Away, Device, DeviceError, DeviceStatus, Joining, KitState, MemberInfo, NewDevice, RelayStatus, SettingChange,
};
pub use event::{Event, Outcome, Setting};
pub use relay_id::{RelayId, relays_of};

//! The client's protocol without I/O: membership, keys, envelopes, chains, delivery and pairing.
//!
//! Nothing here opens a socket or a file, reads a clock or draws randomness by itself: time comes in as milliseconds
//! since the Unix epoch, randomness as a generator, bytes as frames; what is to be written and sent comes out. So the
//! engine, the tests and the simulator run the very same code.
//!
//! [`Device`] is a member of a group, [`Joining`] a newcomer between pairing and Welcome, [`pairing`] how it gets there,
//! [`recovery`] how a device comes back when every other is lost, [`vault`] what of it lies on a disk.

pub mod device;
pub mod event;
pub mod membership;
pub mod pairing;
<<<<<<< next
pub mod recovery;
||||||| 8ef56763912b8753c4d993a661c37600129f47c4
=======
mod relay_id;
>>>>>>> df5a0bc^4
pub mod seal;
pub mod store;
pub mod vault;

<<<<<<< next
pub use device::{Away, Device, DeviceError, DeviceStatus, Joining, KitState, MemberInfo, NewDevice, SettingChange};
pub use event::{Event, Outcome, Setting};
||||||| 8ef56763912b8753c4d993a661c37600129f47c4
pub use device::{Device, DeviceError, DeviceStatus, Joining, MemberInfo, NewDevice};
pub use event::{Event, Outcome};
=======
pub use device::{Device, DeviceError, DeviceStatus, Joining, MemberInfo, NewDevice, RelayStatus};
pub use event::{Event, Outcome};
pub use relay_id::{RelayId, relays_of};
>>>>>>> df5a0bc^4

//! Whole programs that pair, push, leave and meet what goes wrong. Each of these has the machine for itself.

mod backlog;
mod backup;
// Short codes are of suite 1 alone; `links` has their refusal in the other.
#[cfg(not(feature = "fips"))]
mod codes;
mod crash_points;
/// A device that speaks raw frames: the relay's tests and the search for plaintext need the same one.
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../../relay/tests/it/device.rs"]
mod device;
mod disk;
mod faults;
mod files;
mod group;
mod hazard;
mod home;
mod kill;
mod links;
mod network;
mod output;
mod power_cut;
mod recovery;
mod relays;
mod secrecy;
// A build of suite 2 takes part in no other.
#[cfg(not(feature = "fips"))]
mod suite;
mod terminal;
mod vault;
mod waking;

// The relay's `device.rs` above needs it.
use mls_rs as _;

//! Seeded simulations of devices and a relay. For tests only: nothing that ships depends on this crate.
//!
//! One seed makes one world: how many devices there are, what they do, how the network behaves, who dies when, and who is
//! hostile. The devices run the real `sync-core`, the relay the real mailbox, sessions and store of `sync-relay`; between
//! them are streams that break, disks that die in the middle, and a clock that only the world moves. Nothing in a world
//! depends on anything but its seed, so a failure is replayed by it, step for step.

pub mod attacks;
mod counters;
pub mod crypto;
mod dice;
mod disk;
mod fleet;
mod fleet_stress;
#[cfg(test)]
mod fleet_tests;
pub mod fuzz;
#[cfg(test)]
mod mailbox_tests;
pub mod memory;
mod model;
mod mutation;
mod relay;
mod runner;
#[cfg(test)]
mod secrecy_tests;
mod watching;
mod world;

pub use counters::{Counters, REQUIRED};
pub use fleet_stress::{Voyage, voyage};
pub use mutation::Mutation;
pub use runner::{Run, Summary, run, run_seed};
pub use world::{Failure, Outcome, Trace};

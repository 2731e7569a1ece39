//! The client as an app sees it: the real database and the real relay, in memory and over QUIC on loopback.
//! Nothing here waits for a time to pass; everything waits for an event, for a bounded time.

#![allow(clippy::unwrap_used)] // what helps a test may fail as a test does

mod absence;
mod alerts;
// Short codes are of suite 1 alone; `pairing` has their refusal in the other.
#[cfg(not(feature = "fips"))]
mod codes;
mod delivery;
mod direct;
mod discovery;
mod errors;
mod faults;
mod files;
mod https;
mod kit;
mod large;
mod lifecycle;
mod lost_relay;
mod mailboxes;
mod membership;
mod moving;
mod pairing;
mod recovery;
mod snapshots;
mod support;
mod waking;

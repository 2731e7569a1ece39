//! The relay's tests: what devices notice of it.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod acme;
mod admin;
mod batches;
mod carry;
mod commits;
mod console;
mod content;
mod contract;
mod copies;
mod deploy;
mod device;
mod docs;
mod faults;
mod gate;
mod host;
mod kit;
mod lapse;
mod model;
mod nameplates;
mod observer;
#[cfg(feature = "postgres")]
mod pg_server;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_content;
#[cfg(feature = "postgres")]
mod postgres_nodes;
#[cfg(feature = "postgres")]
mod postgres_pairings;
mod process;
mod pushing;
mod rendezvous;
mod server;
mod session;
mod sqlite;
mod support;
mod waking;
mod web;

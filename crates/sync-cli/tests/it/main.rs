//! `ksync` and `sync-relay` as programs: what is typed, what comes out, and what a person sees on the screen.
#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::print_stdout, reason = "a test of random moments says its seed and what it hit")]

mod docs;
mod e2e;
mod harness;
mod human;
mod screen;

//! `ksync` and `sync-relay` as programs: what is typed, what comes out, and what a person sees on the screen.
#![allow(clippy::unwrap_used, missing_docs)]

mod docs;
mod e2e;
mod harness;
mod human;
mod screen;

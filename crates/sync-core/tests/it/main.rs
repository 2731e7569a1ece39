//! Tests from outside: primitives against public vectors, golden vectors of what travels.

#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with place and cause")]

mod codes;
mod device;
mod formats;
mod golden;
mod membership;
mod pairing;
mod primitives;
mod recovery;
mod vault;

//! Each push service as a server on loopback, which checks what it is sent by the text of its specification.

mod apns;
mod fcm;
mod guard;
mod queue;
mod secrets;
mod servers;
mod settings;
mod web;

use super::guard::Looking;
use super::queue::Push;
use super::*;

/// The key of a relay whose own is this.
fn vapid() -> Vapid {
    Vapid::derive(&[7; 32]).unwrap()
}

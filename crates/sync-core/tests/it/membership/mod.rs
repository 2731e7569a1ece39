//! Membership with the real cryptography, with the relay's observer beside it.

mod attacks;
mod changes;
mod joining;
mod liar;
mod recovery;
mod successor;
mod successor_attacks;
mod world;

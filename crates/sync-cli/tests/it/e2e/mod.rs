//! Whole programs that pair, push, leave and meet what goes wrong. Each of these has the machine for itself.

mod faults;
mod group;
mod links;
mod output;
mod terminal;

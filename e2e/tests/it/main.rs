//! The plugin and the example app in real windows.
#![allow(clippy::unwrap_used, missing_docs)]

mod bindings;
mod e2e;

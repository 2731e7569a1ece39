//! Real windows for tests: a screen without a monitor, apps on it that a WebDriver steers, and a relay.
//!
//! Everything is waited for with a limit; nothing is slept for. Every process ends with the value that stands for it.

mod app;
mod driver;
pub mod exits;
mod hands;
mod line;
pub mod notes;
pub mod pages;
mod relay;
mod screen;
pub mod widget;

pub use app::{App, Launch, until};
pub use hands::Key;
pub use line::{Line, Mode};
pub use relay::Relay;
pub use screen::{Screen, decode};

/// How long anything may take. Far more than it does: whoever meets it has failed. On a machine that has just been set up, the
/// first window alone took 40 s.
pub const LIMIT: std::time::Duration = std::time::Duration::from_secs(180);

//! An app's life: connected, asleep with nothing open, and woken for a moment.

use sync_types::Code;

/// Where in its life an app is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Connected, or connecting.
    #[default]
    Foreground,
    /// No socket is open. What is pushed waits on this device.
    Background,
    /// Connected until what waits is fetched.
    Waking,
}

impl Mode {
    /// Its name for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foreground => "foreground",
            Self::Background => "background",
            Self::Waking => "waking",
        }
    }
}

/// What a wake-up brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Woken {
    /// Whether everything that waited at the relay is in the log, with the bytes of large blobs.
    pub caught_up: bool,
    /// Whether blobs of others came into the log.
    pub arrived: bool,
}

/// How it stands with the relays' waking this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeState {
    /// No relay has answered yet to the target that is set.
    Waiting,
    /// A relay has kept it, and wakes this device.
    Registered,
    /// Of the relays that were told, none does.
    Refused(Code),
}

impl WakeState {
    /// Its name for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Registered => "registered",
            Self::Refused(_) => "refused",
        }
    }
}

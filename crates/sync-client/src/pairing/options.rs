//! How a pairing is begun.

use std::time::Duration;

use sync_types::limits;

/// How an invite is made.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct InviteOptions {
    /// How long link and code are worth something; at most [`limits::PAIRING_TTL`], and that by default.
    pub ttl: Duration,
    /// Whether a short code is what is wanted: then the invite fails without one, and ends when somebody types a wrong one.
    /// Otherwise a code is shown beside the link where the app's devices are all configured with one relay, and when it
    /// ends, the link goes on ([`crate::PairingEvent::CodeOver`]).
    pub needs_code: bool,
}

impl Default for InviteOptions {
    fn default() -> Self {
        Self { ttl: limits::PAIRING_TTL, needs_code: false }
    }
}

impl InviteOptions {
    /// An invite that lives so long.
    pub fn with_ttl(ttl: Duration) -> Self {
        Self { ttl, ..Self::default() }
    }

    /// Sets [`InviteOptions::needs_code`].
    #[must_use]
    pub fn needs_code(mut self) -> Self {
        self.needs_code = true;
        self
    }
}

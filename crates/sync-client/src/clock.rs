//! The client's one clock and its randomness.

use std::convert::Infallible;
use std::time::Duration;

use rand_core::{TryCryptoRng, TryRng};
use tokio::time::Instant;

/// Milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "this is the client's one clock; everything else is handed `now`")]
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // Before 1970 and after the year 584,556,019 there is no time to speak of.
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// How long to wait before looking at the wall clock again, in milliseconds: somebody may set it.
const LOOK_AGAIN_MS: u64 = 60_000;

/// The moment at which [`now_ms`] will be `at`, or one at which to ask again, if that comes first.
pub(crate) fn instant_of(at: u64) -> Instant {
    Instant::now() + Duration::from_millis(at.saturating_sub(now_ms()).min(LOOK_AGAIN_MS))
}

/// The system's randomness; with the feature `fips` that of aws-lc's module, which is seeded from it.
pub(crate) struct SystemRng;

impl TryRng for SystemRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        #[cfg(feature = "fips")]
        let filled = aws_lc_rs::rand::fill(bytes);
        #[cfg(not(feature = "fips"))]
        let filled = getrandom::fill(bytes);
        filled.expect("a system without randomness can seal nothing; going on would be worse");
        Ok(())
    }
}

impl TryCryptoRng for SystemRng {}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let Ok(()) = SystemRng.try_fill_bytes(&mut bytes);
    bytes
}

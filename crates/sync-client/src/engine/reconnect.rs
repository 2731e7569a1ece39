//! When to connect again.
//!
//! What is due is a function of the state, asked as often as one likes, and not an output that somebody could throw away:
//! a naive client's backoff never runs because nobody takes what its state machine gives out.

use std::time::Duration;

use rand_core::{CryptoRng, Rng};
use tokio::time::Instant;

/// The first window to draw from, in milliseconds.
const BASE_MS: u64 = 250;
/// The largest window, in milliseconds.
const CAP_MS: u64 = 60_000;
/// The longest wait that a relay may ask for, in milliseconds.
const RETRY_AFTER_CAP_MS: u64 = 3_600_000;
/// After so long a connection counts as stable, and the next failure as the first.
const STABLE: Duration = Duration::from_secs(60);

/// What is due. Times are those of the monotonic clock: somebody who sets the wall clock holds no connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Connect now.
    Dial,
    /// Connect then, unless something changes.
    Wait(Instant),
    /// Nothing: a connection stands or is being made, or connecting is of no use.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Dialing,
    Up { since: Instant },
    Waiting { until: Instant },
    Stopped,
}

/// The state between one connection and the next.
#[derive(Debug)]
pub(crate) struct Reconnect {
    state: State,
    /// Failures since the last stable connection.
    failures: u32,
}

impl Reconnect {
    pub(crate) fn new() -> Self {
        Self { state: State::Ready, failures: 0 }
    }

    /// What is due.
    pub(crate) fn next(&self, now: Instant) -> Next {
        match self.state {
            State::Ready => Next::Dial,
            State::Waiting { until } if until <= now => Next::Dial,
            State::Waiting { until } => Next::Wait(until),
            State::Dialing | State::Up { .. } | State::Stopped => Next::Nothing,
        }
    }

    pub(crate) fn dialing(&mut self) {
        self.state = State::Dialing;
    }

    pub(crate) fn up(&mut self, now: Instant) {
        self.state = State::Up { since: now };
    }

    /// The connection, or the try to make one, failed. Gives how long to wait, in milliseconds: a draw from the whole
    /// window, so that devices which lost a relay together do not come back together, and never sooner than the relay said
    /// (which may say an hour at the most).
    pub(crate) fn down(&mut self, now: Instant, retry_after_ms: u64, rng: &mut dyn CryptoRng) -> u64 {
        if let State::Up { since } = self.state
            && now.saturating_duration_since(since) >= STABLE
        {
            self.failures = 0;
        }
        let window = BASE_MS.saturating_mul(1 << self.failures.min(16)).min(CAP_MS);
        self.failures = self.failures.saturating_add(1);
        // A modulus this small against 2^64 favours no value that anybody could notice.
        let wait = retry_after_ms.min(RETRY_AFTER_CAP_MS) + Rng::next_u64(rng) % (window + 1);
        self.state = State::Waiting { until: now + Duration::from_millis(wait) };
        wait
    }

    /// Connect at once, unless a connection stands or is being made.
    pub(crate) fn nudge(&mut self) {
        if matches!(self.state, State::Waiting { .. } | State::Stopped) {
            self.state = State::Ready;
        }
    }

    /// The connection was ended from here; as soon as one is wanted again, it is made at once.
    pub(crate) fn renew(&mut self) {
        self.state = State::Ready;
    }

    /// Connecting is of no use until somebody asks for it.
    pub(crate) fn stop(&mut self) {
        self.state = State::Stopped;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemRng;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn fault_1_the_backoff_runs_however_often_or_seldom_it_is_asked() {
        let now = Instant::now();
        let mut r = Reconnect::new();
        assert_eq!(r.next(now), Next::Dial);
        assert_eq!(r.next(now), Next::Dial);
        r.dialing();
        assert_eq!(r.next(now), Next::Nothing);
        let wait = r.down(now, 0, &mut SystemRng);
        for _ in 0..3 {
            assert_eq!(r.next(now + ms(wait)), Next::Dial);
        }
        if wait > 0 {
            assert_eq!(r.next(now), Next::Wait(now + ms(wait)));
        }
    }

    #[test]
    fn the_window_doubles_up_to_the_cap_and_is_used_in_full() {
        let now = Instant::now();
        let mut longest = [0; 20];
        let mut shortest = [u64::MAX; 20];
        for _ in 0..200 {
            let mut r = Reconnect::new();
            for n in 0..20 {
                let wait = r.down(now, 0, &mut SystemRng);
                longest[n] = longest[n].max(wait);
                shortest[n] = shortest[n].min(wait);
            }
        }
        for n in 0..20 {
            let window = (BASE_MS << n).min(CAP_MS);
            assert!(longest[n] <= window && longest[n] > window / 2, "{n}: {} of {window}", longest[n]);
            assert!(shortest[n] < window / 4, "{n}: {} of {window}", shortest[n]);
        }
    }

    #[test]
    fn the_relays_word_is_respected_within_an_hour_and_a_stable_minute_forgives() {
        let now = Instant::now();
        let mut r = Reconnect::new();
        for _ in 0..10 {
            r.down(now, 0, &mut SystemRng);
        }
        assert!(r.down(now, 500_000, &mut SystemRng) >= 500_000);
        assert!(r.down(now, u64::MAX, &mut SystemRng) <= RETRY_AFTER_CAP_MS + CAP_MS);
        r.up(now);
        r.down(now + ms(59_999), 0, &mut SystemRng);
        assert!(r.failures > 10);
        r.up(now + ms(100_000));
        assert!(r.down(now + ms(160_000), 0, &mut SystemRng) <= BASE_MS);
    }

    #[test]
    fn stopping_and_nudging() {
        let now = Instant::now();
        let mut r = Reconnect::new();
        r.stop();
        assert_eq!(r.next(now + ms(1 << 40)), Next::Nothing);
        r.nudge();
        assert_eq!(r.next(now), Next::Dial);
        r.up(now);
        r.nudge();
        assert_eq!(r.next(now), Next::Nothing);
        // A connection that was ended from here is made again as soon as somebody wants one.
        r.renew();
        assert_eq!(r.next(now), Next::Dial);
    }
}

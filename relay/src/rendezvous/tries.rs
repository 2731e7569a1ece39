//! How often a network may come to a nameplate.

use std::collections::HashMap;
use std::net::IpAddr;

use sync_types::limits;

/// How long it takes until one more try is there, in milliseconds.
const EACH_MS: u64 = 60_000;

/// How many networks' tries are remembered. Those that have all of theirs are forgotten first.
const NETWORKS: usize = 16_384;

/// When the tries of each network will all be there again, in milliseconds since the Unix epoch. One that is not named has
/// all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tries(HashMap<Option<IpAddr>, u64>);

impl Tries {
    /// Takes one try, or says how many milliseconds until there is one.
    pub(super) fn take(&mut self, network: Option<IpAddr>, now_ms: u64) -> Result<(), u64> {
        if self.0.len() >= NETWORKS && !self.0.contains_key(&network) {
            self.0.retain(|_, whole_at| *whole_at > now_ms);
            if self.0.len() >= NETWORKS {
                return Err(EACH_MS);
            }
        }
        let whole_at = self.0.entry(network).or_insert(now_ms);
        let after = (*whole_at).max(now_ms) + EACH_MS;
        let most = now_ms + EACH_MS * u64::from(limits::NAMEPLATE_TRIES);
        if after > most {
            return Err(after - most);
        }
        *whole_at = after;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_run_out_for_each_network_and_come_back_with_time() {
        let mut tries = Tries::default();
        let [here, there] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|ip| Some(IpAddr::from(ip)));
        for _ in 0..limits::NAMEPLATE_TRIES {
            assert_eq!(tries.take(here, 1_000), Ok(()));
        }
        assert_eq!(tries.take(here, 1_000), Err(EACH_MS));
        assert_eq!(tries.take(here, 31_000), Err(EACH_MS / 2));
        assert_eq!(tries.take(there, 31_000), Ok(()));
        assert_eq!(tries.take(here, 61_000), Ok(()));
        assert!(tries.take(here, 61_000).is_err());
        // A day later there are as many as at first, and not more.
        let later = 61_000 + 24 * 3_600_000;
        assert_eq!((0..100).filter(|_| tries.take(here, later).is_ok()).count(), 10);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut tries = Tries::default();
        for n in 0..NETWORKS {
            let network = Some(IpAddr::from(u32::try_from(n).unwrap().to_be_bytes()));
            assert_eq!(tries.take(network, 0), Ok(()));
        }
        assert!(tries.take(None, EACH_MS - 1).is_err(), "a flood of networks costs newcomers a minute, and no memory");
        assert_eq!(tries.take(None, EACH_MS), Ok(()));
        assert_eq!(tries.0.len(), 1);
    }
}

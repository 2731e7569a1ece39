//! Token buckets over a clock that is passed in.

/// How much a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Frames each second, in the long run.
    pub frames_per_second: u64,
    /// Frames at once.
    pub frames_burst: u64,
    /// Bytes each second, in the long run.
    pub bytes_per_second: u64,
    /// Bytes at once.
    pub bytes_burst: u64,
    /// Presence frames each second, in the long run.
    pub presence_per_second: u64,
    /// Presence frames at once.
    pub presence_burst: u64,
    /// Changes of a group each second, in the long run. Each costs MLS work and a large transaction. Rejects are counted
    /// apart from commits and created groups.
    pub changes_per_second: u64,
    /// Changes of a group at once.
    pub changes_burst: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            frames_per_second: 20_000,
            frames_burst: 40_000,
            bytes_per_second: 128 << 20,
            bytes_burst: 512 << 20,
            presence_per_second: 20,
            presence_burst: 40,
            changes_per_second: 2,
            changes_burst: 20,
        }
    }
}

/// A bucket that fills steadily up to its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    per_second: u64,
    /// In thousandths, so that a millisecond fills by `per_second`.
    size: u64,
    left: u64,
    at_ms: Option<u64>,
}

impl Bucket {
    /// A full bucket of `burst`, at least 1, that fills by `per_second`, at least 1.
    pub fn new(per_second: u64, burst: u64) -> Self {
        let size = burst.max(1).saturating_mul(1000);
        Self { per_second: per_second.max(1), size, left: size, at_ms: None }
    }

    /// Takes `count` out, or says how many milliseconds until they are there. More than the bucket holds is taken when it
    /// is full, and owed by nobody.
    pub fn take(&mut self, count: u64, now_ms: u64) -> Result<(), u64> {
        let passed = now_ms.saturating_sub(self.at_ms.unwrap_or(now_ms));
        self.left = self.left.saturating_add(passed.saturating_mul(self.per_second)).min(self.size);
        self.at_ms = Some(self.at_ms.map_or(now_ms, |at| at.max(now_ms)));
        let cost = count.saturating_mul(1000).min(self.size);
        if cost <= self.left {
            self.left -= cost;
            return Ok(());
        }
        Err((cost - self.left).div_ceil(self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let mut bucket = Bucket::new(10, 3);
        for _ in 0..3 {
            assert_eq!(bucket.take(1, 1_000), Ok(()));
        }
        assert_eq!(bucket.take(1, 1_000), Err(100));
        assert_eq!(bucket.take(1, 1_099), Err(1));
        assert_eq!(bucket.take(1, 1_100), Ok(()));
        // A clock that goes back fills nothing, and one that jumps fills it once.
        assert!(bucket.take(1, 0).is_err());
        assert_eq!(bucket.take(3, u64::MAX), Ok(()));
        assert!(bucket.take(1, u64::MAX).is_err());
    }

    #[test]
    fn what_is_larger_than_the_bucket_waits_for_a_full_one() {
        let mut bucket = Bucket::new(1, 2);
        assert_eq!(bucket.take(100, 0), Ok(()));
        assert_eq!(bucket.take(100, 0), Err(2_000));
        assert_eq!(bucket.take(100, 2_000), Ok(()));
    }
}

//! Times of many repetitions, in order.

use std::time::Duration;

/// Sorted durations.
pub(crate) struct Sorted(Vec<Duration>);

impl Sorted {
    /// Sorts `times`, of which there has to be one at least.
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was timed");
        times.sort_unstable();
        Self(times)
    }

    /// The duration that so many in a hundred do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() - 1) * percent / 100]
    }

    pub(crate) fn max(&self) -> Duration {
        self.0[self.0.len() - 1]
    }

    /// `p50 1.2 ms, p99 3.4 ms, max 5.6 ms`
    pub(crate) fn summary(&self) -> String {
        let [p50, p99, max] = [self.percentile(50), self.percentile(99), self.max()].map(text);
        format!("p50 {p50}, p99 {p99}, max {max}")
    }
}

/// A duration in the unit that suits it.
pub(crate) fn text(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..1_000 => format!("{micros} µs"),
        micros @ 1_000..1_000_000 => format!("{:.2} ms", micros as f64 / 1e3),
        micros => format!("{:.2} s", micros as f64 / 1e6),
    }
}

/// A count with a comma every three digits.
pub(crate) fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_members_of_the_list() {
        let sorted = Sorted::new((1..=200).rev().map(Duration::from_micros).collect());
        assert_eq!(sorted.percentile(50), Duration::from_micros(100));
        assert_eq!(sorted.percentile(99), Duration::from_micros(198));
        assert_eq!(sorted.max(), Duration::from_micros(200));
        let one = Sorted::new(vec![Duration::from_millis(7)]);
        assert_eq!(one.summary(), "p50 7.00 ms, p99 7.00 ms, max 7.00 ms");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(count(0.4), "0");
        assert_eq!(count(999.0), "999");
        assert_eq!(count(1_234_567.0), "1,234,567");
        assert_eq!(text(Duration::from_micros(999)), "999 µs");
        assert_eq!(text(Duration::from_millis(2_500)), "2.50 s");
    }
}

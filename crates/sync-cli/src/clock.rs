//! The command line's one clock. What matters is decided by the client, by its own.

/// Milliseconds since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "for countdowns and for how long ago something was, and for nothing else"
)]
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

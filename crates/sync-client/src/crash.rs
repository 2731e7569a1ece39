//! Named points at which a test can make the process die, so that recovery is tried at each of them. They do nothing in
//! release builds.
//!
//! `KSYNC_CRASH_AT=name:count` aborts at the count-th passage of the point, counted from 1. The relay has points of its
//! own; an embedded one reads the same variable, so these begin with `client_`.

/// Inside a turn's transaction, with everything written and nothing committed.
pub(crate) const BEFORE_COMMIT: &str = "client_before_commit";
/// The turn is durable; nobody has been told, and nothing was sent.
pub(crate) const AFTER_COMMIT_BEFORE_SEND: &str = "client_after_commit_before_send";
/// A frame went out.
pub(crate) const AFTER_SEND: &str = "client_after_send";

/// Passes the point of that name.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Plan {
        name: String,
        count: u64,
        passed: AtomicU64,
    }
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();

    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("KSYNC_CRASH_AT").ok()?;
        let (name, count) = text.split_once(':')?;
        Some(Plan { name: name.to_owned(), count: count.parse().ok()?, passed: AtomicU64::new(0) })
    });
    if let Some(plan) = plan
        && plan.name == name
        && plan.passed.fetch_add(1, Ordering::Relaxed) + 1 == plan.count
    {
        std::process::abort();
    }
}

/// Passes the point of that name: nothing happens in a release build.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_name: &str) {}

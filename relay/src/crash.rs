//! Named points at which a test can make the process die, so that recovery is tried at each of them. They do nothing in
//! release builds.
//!
//! `KSYNC_CRASH_AT=name:count` aborts at the count-th passage of the point, counted from 1.

/// Before a batch is handed to the store.
pub(crate) const BEFORE_COMMIT: &str = "before_commit";
/// Inside the store's transaction, with everything written and nothing committed.
pub(crate) const MID_COMMIT: &str = "mid_commit";
/// The batch is durable and nobody has been told.
pub(crate) const AFTER_COMMIT_BEFORE_REPLY: &str = "after_commit_before_reply";
/// Inside a transaction that deletes acknowledged entries, between the deletion and the commit.
pub(crate) const MID_DELETE: &str = "mid_delete";
/// Acknowledged entries are gone durably and nobody has been told.
pub(crate) const AFTER_DELETE: &str = "after_delete";

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

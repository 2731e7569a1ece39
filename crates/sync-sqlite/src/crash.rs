//! Named points at which a test can make the process die, so that recovery is tried at each of them. They do nothing in
//! release builds.
//!
//! `KSYNC_CRASH_AT=name:count` aborts at the count-th passage of the point, counted from 1. A client that hosts its relay
//! has the points of both in one process, so each name belongs to one place.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

struct Plan {
    name: String,
    count: u64,
    passed: AtomicU64,
}

fn plan() -> Option<&'static Plan> {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return None;
    }
    PLAN.get_or_init(|| {
        let text = std::env::var("KSYNC_CRASH_AT").ok()?;
        let (name, count) = text.split_once(':')?;
        Some(Plan { name: name.to_owned(), count: count.parse().ok()?, passed: AtomicU64::new(0) })
    })
    .as_ref()
}

/// Whether the process is to die at some point, so that what costs time only to be at that point can be left out.
pub fn armed() -> bool {
    plan().is_some()
}

/// Passes the point of that name.
pub fn point(name: &str) {
    if let Some(plan) = plan()
        && plan.name == name
        && plan.passed.fetch_add(1, Ordering::Relaxed) + 1 == plan.count
    {
        std::process::abort();
    }
}

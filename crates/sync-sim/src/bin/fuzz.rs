//! `cargo xtask fuzz`: libFuzzer makes up inputs for one target, which stands in `KSYNC_FUZZ_TARGET`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sync_sim::fuzz::{TARGETS, Target};

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("KSYNC_FUZZ_TARGET").unwrap_or_default();
    TARGETS.iter().find(|target| target.name == name).expect("KSYNC_FUZZ_TARGET names a target")
});

fuzz_target!(|input: &[u8]| {
    TARGET.try_one(input);
});

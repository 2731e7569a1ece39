//! Golden vectors: what a test made has to be what is committed in `vectors/`.

use std::path::PathBuf;

use serde_json::Value;

/// Compares `value` with `vectors/NAME.json`. With `KSYNC_BLESS=1` in the environment it writes the file instead, as
/// `cargo xtask gen` does; what changed then shows in the diff.
///
/// # Panics
/// If the file is missing or differs.
pub(crate) fn check(name: &str, value: &Value) {
    if is_blessing() {
        return bless(name, value);
    }
    assert!(
        committed(name) == *value,
        "{} differs from what this build makes. A change of a format wants a new version; \
         if it is meant, KSYNC_BLESS=1 writes the file anew.",
        path(name).display()
    );
}

/// What is committed, for a vector that is another each time that it is made. It is written only where there is none.
pub(crate) fn committed_or_blessed(name: &str, value: &Value) -> Value {
    if is_blessing() && !path(name).exists() {
        bless(name, value);
    }
    committed(name)
}

fn is_blessing() -> bool {
    std::env::var_os("KSYNC_BLESS").is_some_and(|v| v == "1")
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors").join(format!("{name}.json"))
}

fn bless(name: &str, value: &Value) {
    let made = serde_json::to_string_pretty(value).expect("JSON values print") + "\n";
    std::fs::write(path(name), made).expect("vectors/ is writable");
}

fn committed(name: &str) -> Value {
    let committed = std::fs::read_to_string(path(name))
        .unwrap_or_else(|error| panic!("{}: {error}; KSYNC_BLESS=1 makes it", path(name).display()));
    serde_json::from_str(&committed).expect("a vector file is JSON")
}

//! Golden vectors: what a test made has to be what is committed in `vectors/`.

use std::path::PathBuf;

use serde_json::Value;

/// Compares `value` with `vectors/NAME.json`. With `KSYNC_BLESS=1` in the environment it writes the file instead, as
/// `cargo xtask gen` does; what changed then shows in the diff.
///
/// # Panics
/// If the file is missing or differs.
pub(crate) fn check(name: &str, value: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors").join(format!("{name}.json"));
    let made = serde_json::to_string_pretty(value).expect("JSON values print") + "\n";
    if std::env::var_os("KSYNC_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(&path, made).expect("vectors/ is writable");
        return;
    }
    let committed = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; KSYNC_BLESS=1 makes it", path.display()));
    let committed: Value = serde_json::from_str(&committed).expect("a vector file is JSON");
    assert!(
        committed == *value,
        "{} differs from what this build makes. A change of a format wants a new version; \
         if it is meant, KSYNC_BLESS=1 writes the file anew.",
        path.display()
    );
}

//! `guest-js/bindings.ts` is what the Rust commands say.

use std::path::Path;

use specta_typescript::Typescript;

#[test]
fn golden_bindings() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-js/bindings.ts");
    let folder = tempfile::tempdir().unwrap();
    let fresh = folder.path().join("bindings.ts");
    let header = "// Written by `cargo xtask gen` from plugin/src/commands and plugin/src/types.rs.\n";
    tauri_plugin_0ksync::bindings::builder().export(Typescript::default().header(header), &fresh).unwrap();
    let fresh = std::fs::read_to_string(fresh).unwrap();
    if std::env::var_os("KSYNC_BLESS").is_some() {
        std::fs::write(&committed, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(committed).unwrap_or_default();
    assert!(committed == fresh, "guest-js/bindings.ts is stale: run `cargo xtask gen`");
}

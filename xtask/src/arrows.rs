//! The directions in which crates of the workspace may depend on each other, and what the pure ones must never reach.

use serde_json::Value;

use crate::Failure;
use crate::process::{capture, cargo};

/// Which crate may depend on which others of the workspace. Anything else is an error, in tests too.
#[rustfmt::skip]
const ALLOWED: &[(&str, &[&str])] = &[
    ("sync-types", &[]),
    ("sync-rules", &["sync-types"]),
    ("sync-core", &["sync-rules", "sync-types"]),
    ("sync-content", &["sync-types"]),
    ("sync-sqlite", &[]),
    ("sync-relay", &["sync-content", "sync-rules", "sync-sqlite", "sync-types"]),
    ("sync-client", &["sync-content", "sync-core", "sync-rules", "sync-sqlite", "sync-types", "sync-relay"]),
    ("sync-cli", &["sync-client", "sync-types"]),
    ("sync-sim", &["sync-core", "sync-rules", "sync-types", "sync-relay"]),
    ("ksync-bench", &["sync-client", "sync-content", "sync-core", "sync-rules", "sync-types", "sync-relay"]),
    ("tauri-plugin-0ksync", &["sync-client"]),
    ("ksync-notes", &["tauri-plugin-0ksync"]),
    ("ksync-testbed", &["tauri-plugin-0ksync"]),
    ("ksync-e2e", &["sync-relay"]),
    ("xtask", &[]),
];

/// Arrows that a crate's tests have besides: one of them is a relay's device that does not encrypt.
const IN_TESTS: &[(&str, &[&str])] =
    &[("sync-cli", &["sync-core", "sync-relay", "sync-rules"]), ("ksync-e2e", &["tauri-plugin-0ksync"])];

/// Arrows that exist only where a feature asks for them: most clients host no relay.
const OPTIONAL: &[(&str, &str)] = &[("sync-client", "sync-relay")];

/// The feature by which defences can be switched off, and the crate that may ask for it: nothing that ships depends on that one.
const CONTROLS: (&str, &str) = ("controls", "sync-sim");

/// Crates without I/O: nothing that they are built from may know a socket, a database or a scheduler.
pub(crate) const PURE: &[&str] = &["sync-types", "sync-rules", "sync-core"];

/// What a pure crate must not be built from.
const IMPURE: &[&str] = &["tokio", "iroh", "sqlx"];

/// Every arrow that is not allowed.
pub(crate) fn check(metadata: &Value) -> Result<Vec<Failure>, Failure> {
    let mut findings = forbidden(metadata);
    for name in PURE {
        // Asked for each crate by itself, so that features which only another member switches on are not counted.
        let tree = &["tree", "--package", name, "--edges", "normal", "--target", "all", "--prefix", "none"];
        findings.extend(impure(name, &capture(&mut cargo(tree))?));
    }
    Ok(findings)
}

/// Facts about the members of the workspace, from cargo. Fails if the lock file is not up to date.
pub(crate) fn metadata() -> Result<Value, Failure> {
    let text = capture(&mut cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    serde_json::from_str(&text).map_err(|e| format!("cannot read what `cargo metadata` wrote: {e}"))
}

/// The entries of a list in cargo's metadata; none if it is not there.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn forbidden(metadata: &Value) -> Vec<Failure> {
    let members: Vec<_> = list(metadata, "packages").filter_map(|package| package["name"].as_str()).collect();
    let mut findings = Vec::new();
    for package in list(metadata, "packages") {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name) else {
            findings.push(format!("{name}: a new crate; say in xtask/src/arrows.rs what it may depend on"));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let target = dependency["name"].as_str().unwrap_or_default();
            let in_tests = dependency["kind"] == "dev"
                && IN_TESTS.iter().any(|(crate_name, more)| *crate_name == name && more.contains(&target));
            if members.contains(&target) && !allowed.contains(&target) && !in_tests {
                findings.push(format!("{name} depends on {target}: the design has no such arrow"));
            }
            if name != CONTROLS.1 && list(dependency, "features").any(|feature| feature == CONTROLS.0) {
                findings.push(format!("{name} lets defences be switched off: only {} may", CONTROLS.1));
            }
            let built_in = dependency["kind"].is_null() && dependency["optional"] == false;
            if OPTIONAL.contains(&(name, target)) && built_in {
                findings.push(format!("{name} always depends on {target}: it may only where a feature asks for it"));
            }
        }
    }
    findings
}

fn impure(name: &str, tree: &str) -> Vec<Failure> {
    let mut findings = Vec::new();
    for word in IMPURE {
        if tree.lines().any(|line| line.split(' ').next() == Some(word)) {
            findings.push(format!("{name} is built from {word}: see `cargo tree -p {name} -i {word}`"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Value {
        let dependencies: Vec<_> = dependencies.iter().map(|name| json!({ "name": name })).collect();
        json!({ "name": name, "dependencies": dependencies })
    }

    #[test]
    fn an_arrow_against_the_design_is_found() {
        let metadata = json!({ "packages": [
            package("sync-types", &["thiserror"]),
            package("sync-core", &["sync-types", "sync-sim"]),
            package("sync-sim", &["sync-core"]),
            package("brand-new", &[]),
        ]});
        let findings = forbidden(&metadata);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].contains("sync-core depends on sync-sim"));
        assert!(findings[1].contains("brand-new"));
    }

    #[test]
    fn what_tests_may_reach_the_program_may_not() {
        let cli = |kind: Value| {
            let arrow = json!({ "name": "sync-rules", "optional": false, "kind": kind });
            let cli = json!({ "name": "sync-cli", "dependencies": [arrow] });
            forbidden(&json!({ "packages": [cli, package("sync-rules", &[])] })).len()
        };
        assert_eq!((cli(json!("dev")), cli(Value::Null)), (0, 1));
    }

    #[test]
    fn a_client_that_always_carries_a_relay_is_found() {
        let client = |optional: bool, kind: Value| {
            let arrow = json!({ "name": "sync-relay", "optional": optional, "kind": kind });
            let client = json!({ "name": "sync-client", "dependencies": [arrow] });
            forbidden(&json!({ "packages": [client, package("sync-relay", &[])] })).len()
        };
        assert_eq!(client(false, Value::Null), 1);
        assert_eq!(client(true, Value::Null), 0);
        assert_eq!(client(false, json!("dev")), 0);
    }

    #[test]
    fn defences_can_be_switched_off_by_the_attacks_alone() {
        let asking = |name: &str| {
            let arrow = json!({ "name": "sync-rules", "features": ["controls"] });
            let asking = json!({ "name": name, "dependencies": [arrow] });
            forbidden(&json!({ "packages": [asking, package("sync-rules", &[])] })).len()
        };
        assert_eq!((asking("sync-sim"), asking("sync-core")), (0, 1));
    }

    #[test]
    fn nothing_published_may_use_the_simulator() {
        for (name, allowed) in ALLOWED {
            assert!(!allowed.contains(&"sync-sim"), "{name}");
        }
    }

    #[test]
    fn a_runtime_below_a_pure_crate_is_found_by_its_whole_name() {
        let tree = "sync-core v0.1.0 (/work)\ntokio-macros v2.0.0\niroh v1.4.1\n";
        let findings = impure("sync-core", tree);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("iroh"));
    }
}

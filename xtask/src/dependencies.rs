//! Each dependency is said once, is used, and has its reason in ARCHITECTURE.md.

use std::fs;

use serde_json::Value;

use crate::Failure;
use crate::arrows::list;
use crate::process::root;
use crate::source::{SourceFile, names};

/// Everything that is wrong with the dependencies of the workspace.
pub(crate) fn check(metadata: &Value, sources: &[SourceFile]) -> Result<Vec<Failure>, Failure> {
    let read = |name: &str| fs::read_to_string(root().join(name)).map_err(|e| format!("cannot read {name}: {e}"));
    let declared = declared(&read("Cargo.toml")?);
    if declared.is_empty() {
        return Err("no [workspace.dependencies] in Cargo.toml".to_owned());
    }
    let architecture = read("ARCHITECTURE.md").unwrap_or_default();
    let mut findings = Vec::new();
    findings.extend(unused(&declared, metadata));
    findings.extend(without_reason(&declared, metadata, &architecture));
    for package in list(metadata, "packages") {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let folder = manifest.trim_end_matches("Cargo.toml");
        let folder = folder.strip_prefix(&*root().to_string_lossy()).unwrap_or(folder).trim_start_matches('/');
        let text = fs::read_to_string(manifest).map_err(|e| format!("cannot read {manifest}: {e}"))?;
        findings.extend(own_requirements(&format!("{folder}Cargo.toml"), &text));
        let own: Vec<_> = sources.iter().filter(|source| source.path.starts_with(folder)).collect();
        for dependency in list(package, "dependencies").filter_map(|dependency| dependency["name"].as_str()) {
            let word = dependency.replace('-', "_");
            if !own.iter().any(|source| names(&source.code, &word)) {
                findings.push(format!("{folder}Cargo.toml: no source of this crate names {dependency}"));
            }
        }
    }
    Ok(findings)
}

/// The names under `[workspace.dependencies]`.
fn declared(manifest: &str) -> Vec<String> {
    section(manifest, |header| header == "workspace.dependencies").map(|(_, name, _)| name.to_owned()).collect()
}

/// Lines `name = value` with their numbers, of those sections whose header is wanted.
fn section<'a>(
    manifest: &'a str,
    wanted: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = (usize, &'a str, &'a str)> {
    let mut inside = false;
    manifest.lines().enumerate().filter_map(move |(number, line)| {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            inside = wanted(header.trim_end_matches(']'));
            return None;
        }
        if !inside || line.starts_with('#') {
            return None;
        }
        let (name, value) = line.split_once('=')?;
        Some((number + 1, name.trim(), value.trim()))
    })
}

fn unused(declared: &[String], metadata: &Value) -> Vec<Failure> {
    let used = |name: &String| {
        list(metadata, "packages").flat_map(|package| list(package, "dependencies")).any(|one| one["name"] == **name)
    };
    let unused = declared.iter().filter(|name| !used(name));
    unused.map(|name| format!("Cargo.toml: no crate uses {name}")).collect()
}

fn without_reason(declared: &[String], metadata: &Value, architecture: &str) -> Vec<Failure> {
    let members: Vec<_> = list(metadata, "packages").filter_map(|package| package["name"].as_str()).collect();
    let told =
        |name: &str| architecture.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
    let missing = declared.iter().filter(|name| !members.contains(&name.as_str()) && !told(name));
    missing.map(|name| format!("ARCHITECTURE.md: its table of dependencies has no row for `{name}`")).collect()
}

/// Dependencies whose features their users choose: parts of Tauri are the app's to choose and not the plugin's, and crates of
/// ours are built in a moment.
const CHOOSABLE: [&str; 5] = ["tauri", "sync-client", "sync-relay", "sync-rules", "tauri-plugin-0ksync"];

/// Requirements that a crate states for itself: versions and features stand in the workspace, so that they are the same
/// for each crate and building one crate alone builds nothing twice.
fn own_requirements(path: &str, manifest: &str) -> Vec<Failure> {
    section(manifest, |header| header.ends_with("dependencies") && header != "workspace.dependencies")
        .filter(|(_, name, value)| {
            let inherited = name.ends_with(".workspace") && *value == "true" || value.contains("workspace = true");
            !inherited || value.contains("features") && !CHOOSABLE.contains(name)
        })
        .map(|(line, name, _)| format!("{path}:{line}: write `{name}.workspace = true`"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROOT: &str = "[workspace]\nx = 1\n[workspace.dependencies]\n# why\na = \"1\"\nb-c = { version = \"2\" }\n[profile.dev]\nd = 1\n";

    #[test]
    fn the_declared_names_are_those_of_the_one_section() {
        assert_eq!(declared(ROOT), ["a", "b-c"]);
    }

    #[test]
    fn an_unused_and_an_unexplained_dependency_are_found() {
        let metadata = json!({ "packages": [{ "name": "m", "dependencies": [{ "name": "a" }] }] });
        let names = declared(ROOT);
        assert_eq!(unused(&names, &metadata), ["Cargo.toml: no crate uses b-c"]);
        let findings = without_reason(&names, &metadata, "prose about `a`\n| `b-c` | reason |\n");
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("`a`"));
    }

    #[test]
    fn a_requirement_of_a_crates_own_is_found() {
        let manifest = "[dependencies]\na.workspace = true\nd = { workspace = true, optional = true }\n\
                        [dev-dependencies]\nb = \"1\"\ne = { workspace = true, features = [\"x\"] }\n[features]\nc = []\n";
        let wanted = ["x/Cargo.toml:5: write `b.workspace = true`", "x/Cargo.toml:6: write `e.workspace = true`"];
        assert_eq!(own_requirements("x/Cargo.toml", manifest), wanted);
    }
}

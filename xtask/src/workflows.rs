//! The workflows of `.github/workflows` run nowhere here; what can be said of them without running them.

use std::path::Path;

use serde_json::Value;

use crate::process::{capture, program, root};
use crate::setup::PYTHON;
use crate::{COMMANDS, Failure, failed};

const FOLDER: &str = ".github/workflows";

/// Actions that could change under their name, commands that there are not, another compiler than the workspace's.
pub(crate) fn check() -> Result<Vec<Failure>, Failure> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).map_err(|e| failed("read Cargo.toml", e))?;
    let rust =
        manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).map(|text| text.trim_matches('"'));
    let rust = rust.ok_or("Cargo.toml says no rust-version")?;
    let mut findings = Vec::new();
    for entry in std::fs::read_dir(root().join(FOLDER)).map_err(|e| failed("look at the workflows", e))? {
        let path = entry.map_err(|e| failed("look at the workflows", e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        findings.extend(wrong_in(&read(&path)?, rust).into_iter().map(|finding| format!("{FOLDER}/{name}: {finding}")));
    }
    Ok(findings)
}

fn read(path: &Path) -> Result<Value, Failure> {
    let script = "import json, sys, yaml; print(json.dumps(yaml.load(open(sys.argv[1]), yaml.BaseLoader)))";
    let text = capture(program(PYTHON, &["-c", script]).arg(path))?;
    serde_json::from_str(&text).map_err(|e| failed("read a workflow", e))
}

fn wrong_in(workflow: &Value, rust: &str) -> Vec<Failure> {
    let mut findings = Vec::new();
    each_text(workflow, "", &mut |key, text| {
        if key == "uses" && !text.starts_with("./") {
            let pinned =
                text.split_once('@').is_some_and(|(_, at)| at.len() == 40 && at.bytes().all(|b| b.is_ascii_hexdigit()));
            if !pinned {
                findings.push(format!("{text} names no commit: a tag can be moved"));
            }
        }
        if (key == "container" || key == "image")
            && text.strip_prefix("rust:").is_some_and(|version| version.split('-').next() != Some(rust))
        {
            findings.push(format!("{text} is not the workspace's Rust, {rust}"));
        }
        for command in text.split("cargo xtask ").skip(1) {
            let name = command.split_whitespace().next().unwrap_or_default();
            if !COMMANDS.iter().any(|command| command.name == name) {
                findings.push(format!("there is no cargo xtask {name}"));
            }
        }
    });
    findings
}

/// Every text with the name that it stands under.
fn each_text<'a>(value: &'a Value, key: &'a str, found: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => found(key, text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, key, found)),
        Value::Object(items) => items.iter().for_each(|(key, item)| each_text(item, key, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_can_move_or_is_not_there_is_found() {
        let commit = "0123456789012345678901234567890123456789";
        let job = |uses: &str, run: &str, image: &str| json!({ "jobs": { "a": { "container": { "image": image }, "steps": [{ "uses": uses }, { "run": run }] } } });
        let fine = job(&format!("a/b@{commit}"), "cargo xtask lint", "rust:1.95-bookworm");
        assert!(wrong_in(&fine, "1.95").is_empty());
        assert!(wrong_in(&job("./.github/workflows/ci.yml", "", ""), "1.95").is_empty());
        let found = wrong_in(&job("a/b@v4", "x\ncargo xtask lnit --all", "rust:1.94"), "1.95");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().any(|f| f.contains("a/b@v4")) && found.iter().any(|f| f.contains("xtask lnit")));
    }
}

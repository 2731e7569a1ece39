//! `versions`: the crates and the npm packages have one version, which a release's tag names.

use serde_json::Value;

use crate::arrows::{list, metadata};
use crate::process::root;
use crate::{Failure, failed};

/// Files of npm with a version, and where it stands in each.
const NPM: &[(&str, &str)] = &[
    ("package.json", "/version"),
    ("example-app/package.json", "/version"),
    ("package-lock.json", "/version"),
    ("package-lock.json", "/packages//version"),
    ("package-lock.json", "/packages/example-app/version"),
];

/// `cargo xtask versions [TAG]`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let metadata = metadata()?;
    let version = version(&metadata)?;
    let mut findings = check(&metadata)?;
    match args {
        [] => {}
        [tag] => findings.extend(differs("the tag", tag, &format!("v{version}"))),
        [_, second, ..] => return Err(format!("'{second}' is not understood: at most a tag is")),
    }
    if findings.is_empty() {
        println!("{version}");
        return Ok(());
    }
    Err(findings.join("\n"))
}

/// What has another version than the plugin's crate.
pub(crate) fn check(metadata: &Value) -> Result<Vec<Failure>, Failure> {
    let mut findings = crates(metadata, &version(metadata)?);
    for (path, place) in NPM {
        let text = std::fs::read_to_string(root().join(path)).map_err(|e| failed(&format!("read {path}"), e))?;
        let file: Value = serde_json::from_str(&text).map_err(|e| failed(&format!("understand {path}"), e))?;
        let found = file.pointer(place).and_then(Value::as_str).unwrap_or("nothing");
        findings.extend(differs(&format!("{path}, {place}"), found, &version(metadata)?));
    }
    Ok(findings)
}

fn version(metadata: &Value) -> Result<String, Failure> {
    let plugin = list(metadata, "packages").find(|package| package["name"] == "tauri-plugin-0ksync");
    let version = plugin.and_then(|package| package["version"].as_str());
    version.map(str::to_owned).ok_or_else(|| "cargo tells no version of tauri-plugin-0ksync".to_owned())
}

/// Each crate's version, and what those that are published want of each other.
fn crates(metadata: &Value, version: &str) -> Vec<Failure> {
    let mut findings = Vec::new();
    for package in list(metadata, "packages") {
        let name = package["name"].as_str().unwrap_or_default();
        findings.extend(differs(name, package["version"].as_str().unwrap_or_default(), version));
        for dependency in list(package, "dependencies").filter(|dependency| dependency["path"].is_string()) {
            let wanted = dependency["req"].as_str().unwrap_or_default();
            // One without a version is left out when its user is published.
            if wanted != "*" {
                let what = format!("what {name} wants of {}", dependency["name"].as_str().unwrap_or_default());
                findings.extend(differs(&what, wanted, &format!("^{version}")));
            }
        }
    }
    findings
}

fn differs(what: &str, found: &str, wanted: &str) -> Option<Failure> {
    (found != wanted).then(|| format!("{what} is {found} and not {wanted}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_crate_that_was_left_behind_is_found() {
        let package = |name: &str, version: &str, wanted: &str| {
            let dependencies =
                json!([{ "name": "other", "path": "/x", "req": wanted }, { "name": "serde", "req": "^1" }]);
            json!({ "name": name, "version": version, "dependencies": dependencies })
        };
        let metadata = json!({ "packages": [
            package("tauri-plugin-0ksync", "0.2.0", "^0.2.0"), package("a", "0.1.0", "^0.2.0"), package("b", "0.2.0", "^0.1.0"), package("c", "0.2.0", "*"),
        ] });
        assert_eq!(version(&metadata), Ok("0.2.0".to_owned()));
        let found = crates(&metadata, "0.2.0");
        assert_eq!(found, ["a is 0.1.0 and not 0.2.0", "what b wants of other is ^0.1.0 and not ^0.2.0"]);
    }
}

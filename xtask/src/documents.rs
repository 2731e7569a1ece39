//! Documents that have to say what the code says: every label, kind number and limit of the protocol, every attack and defence,
//! and no file that is not there.

use std::fs;
use std::path::Path;

use crate::Failure;
use crate::process::root;

const PROTOCOL: &str = "docs/protocol.md";
const AUDIT: &str = "docs/audit.md";

/// Documents whose links and paths are followed.
const FOLLOWED: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    PROTOCOL,
    "docs/threat-model.md",
    "docs/hosting.md",
    AUDIT,
];

/// Where labels are used.
const LABELLED: &[&str] = &["crates/sync-rules/src", "crates/sync-core/src", "crates/sync-client/src", "relay/src"];

/// Where kinds on the wire have their numbers.
const KINDS: &[&str] = &[
    "crates/sync-types/src/body.rs",
    "crates/sync-types/src/envelope.rs",
    "crates/sync-types/src/frame.rs",
    "crates/sync-types/src/lib.rs",
    "crates/sync-types/src/link.rs",
    "crates/sync-types/src/settings.rs",
    "crates/sync-core/src/pairing/message.rs",
];

/// What paths in the documents begin with, and what that stands for.
const SHORT: &[(&str, &str)] = &[
    ("types/", "crates/sync-types/src/"),
    ("rules/", "crates/sync-rules/src/"),
    ("core/", "crates/sync-core/src/"),
    ("client/", "crates/sync-client/src/"),
    ("relay/", "relay/src/"),
    ("crates/", "crates/"),
    ("plugin/", "plugin/"),
    ("vectors/", "vectors/"),
];

/// What the documents leave out, or name in vain.
pub(crate) fn check() -> Result<Vec<Failure>, Failure> {
    let protocol = flat(&read(PROTOCOL)?);
    let mut findings = Vec::new();
    let mut want = |there: bool, document: &str, what: String| {
        if !there {
            findings.push(format!("{document} does not have {what}"));
        }
    };
    for folder in LABELLED {
        for (path, text) in sources(&root().join(folder))? {
            for label in labels(&text, folder.ends_with("sync-rules/src")) {
                let rows = protocol.matches(&format!("| | `0ksync/1 {label}` |")).count();
                want(rows == 1, PROTOCOL, format!("the label '{label}' of {path} in one row of §2"));
            }
        }
    }
    for path in KINDS {
        for (name, number) in kinds(&read(path)?) {
            let forms = [format!("{number} | `{name}`"), format!("{number} `{name}`")];
            want(forms.iter().any(|form| protocol.contains(form)), PROTOCOL, format!("{name} = {number} of {path}"));
        }
    }
    for name in constants(&read("crates/sync-types/src/limits.rs")?) {
        want(protocol.contains(&format!("`{name}`")), PROTOCOL, format!("the limit {name}"));
    }
    let audit = flat(&read(AUDIT)?);
    for (path, text) in sources(&root().join("crates/sync-sim/src/attacks"))? {
        for name in attacks(&text) {
            want(audit.contains(&format!("*{name}*")), AUDIT, format!("the attack '{name}' of {path}"));
        }
    }
    for name in defences(&read("crates/sync-rules/src/defence.rs")?) {
        want(audit.contains(&format!("`{name}`")), AUDIT, format!("the defence {name}"));
    }
    for document in FOLLOWED {
        let text = read(document)?;
        for target in links(&text) {
            let folder = Path::new(document).parent().unwrap_or(Path::new(""));
            want(root().join(folder).join(target).exists(), document, format!("a link that leads somewhere: {target}"));
        }
        for path in paths(&text) {
            let there = |(short, long): &(&str, &str)| {
                path.strip_prefix(short).is_some_and(|rest| root().join(format!("{long}{rest}")).exists())
            };
            want(root().join(path).exists() || SHORT.iter().any(there), document, format!("a file at {path}"));
        }
    }
    Ok(findings)
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(root().join(path)).map_err(|e| format!("{path}: {e}"))
}

/// A text in which it does not matter where a line ends.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The Rust files below a folder, without those of tests.
fn sources(folder: &Path) -> Result<Vec<(String, String)>, Failure> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with("tests") {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
            found.push((shown, text));
        }
    }
    Ok(found)
}

/// The code before its tests, line by line, without comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    code.lines().map(str::trim).filter(|line| !line.starts_with("//"))
}

/// What stands behind each of `before`, up to the end of its text.
fn behind<'a>(line: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    line.split(before).skip(1).filter_map(|rest| rest.split('"').next())
}

/// Labels of hashes, signatures and derivations. In the crate that signs, every constant text is one.
fn labels(text: &str, signs: bool) -> Vec<String> {
    let mut found = Vec::new();
    for line in lines(text) {
        for before in ["\"0ksync/1 ", "{LABEL_PREFIX}", "labelled(\"", "LabelledHasher::new(\""] {
            found.extend(behind(line, before).map(str::to_owned));
        }
        if signs && line.starts_with("const ") {
            found.extend(behind(line, ": &str = \"").map(str::to_owned));
        }
        if line.contains("sign(") || line.contains("verify(") {
            found.extend(behind(line, ", \"").map(str::to_owned));
        }
    }
    found.retain(|label| !label.is_empty());
    found
}

/// Variants with numbers: `Attach(Attach) = 1u8,`.
fn kinds(text: &str) -> Vec<(String, u8)> {
    let kind = |line: &str| {
        let (left, number) = line.strip_suffix(',')?.rsplit_once(" = ")?;
        let number = number.trim_end_matches("u8").parse().ok()?;
        let name: String = left.chars().take_while(char::is_ascii_alphanumeric).collect();
        name.starts_with(|c: char| c.is_ascii_uppercase()).then_some((name, number))
    };
    lines(text).filter_map(kind).collect()
}

fn constants(text: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("pub const ")?.split(':').next()?.to_owned());
    lines(text).filter_map(name).collect()
}

/// The names of attacks: the first argument of `attack(`.
fn attacks(text: &str) -> Vec<String> {
    let name = |rest: &str| Some(rest.trim_start().strip_prefix('"')?.split('"').next()?.to_owned());
    text.split("attack(").skip(1).filter_map(name).collect()
}

fn defences(text: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("Self::")?.strip_suffix(',')?.to_owned());
    lines(text).filter_map(name).filter(|name| !name.contains(' ')).collect()
}

/// Targets of links within the repository, without what stands behind `#`.
fn links(text: &str) -> Vec<&str> {
    let target = |rest: &'_ str| -> Option<usize> { rest.find(')') };
    let inside = text.split("](").skip(1).filter_map(move |rest| Some(&rest[..target(rest)?]));
    inside.filter(|t| !t.contains("://") && !t.starts_with('#')).filter_map(|t| t.split('#').next()).collect()
}

/// Files and folders of the source that are named between backticks.
fn paths(text: &str) -> Vec<&str> {
    let known = |token: &&str| {
        SHORT.iter().any(|(short, _)| token.starts_with(short))
            && token.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
    };
    // A fence is three backticks, so that what is outside stays outside.
    text.split('`').skip(1).step_by(2).filter(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_say_what_the_code_says() {
        assert_eq!(check().unwrap(), Vec::<Failure>::new());
    }

    #[test]
    fn labels_are_found_wherever_they_are_used() {
        let text = "const LABEL: &str = \"attach\";\n/// labelled(\"no\", x)\nlabelled(\"commit\", b);\n\
                    let info = format!(\"{LABEL_PREFIX}data\");\nconst E: &[u8] = b\"0ksync/1 envelope\";\n\
                    sign(key, \"direct\", x);\n#[cfg(test)]\nlabelled(\"test\", x);\n";
        assert_eq!(labels(text, true), ["attach", "commit", "data", "envelope", "direct"]);
        assert_eq!(labels(text, false), ["commit", "data", "envelope", "direct"]);
    }

    #[test]
    fn kinds_limits_attacks_and_defences_are_found() {
        let text =
            "Attach(Attach) = 1u8,\nPush(#[mls_codec(with = \"p\")] Vec<Opaque>) = 3u8,\nXWing = 1,\nlet x = 5;\nx: 4,";
        // The attribute has an equals sign of its own, and is looked for behind the last.
        let names: Vec<_> = kinds(text).into_iter().map(|(name, number)| format!("{name} {number}")).collect();
        assert_eq!(names, ["Attach 1", "Push 3", "XWing 1"]);
        assert_eq!(constants("pub const A_B: usize = 1;\nconst KIB: usize = 2;"), ["A_B"]);
        assert_eq!(
            attacks("attack(\"one\", x),\nattack(\n  \"two, too\",\nconst fn attack(\n  name: x"),
            ["one", "two, too"]
        );
        assert_eq!(defences("Self::Cut,\nSelf::Cut => x,"), ["Cut"]);
    }

    #[test]
    fn links_and_paths_are_found() {
        let text = "[a](b.md#c) [d](https://e) [f](#g) `core/seal.rs` `sync_core::seal` `core/x y` `relay/`\n";
        assert_eq!(links(text), ["b.md"]);
        assert_eq!(paths(text), ["core/seal.rs", "relay/"]);
    }
}

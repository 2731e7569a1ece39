//! docs/relay.md, written from the program's own help, and what docs/hosting.md names.

use std::path::Path;
use std::process::Command;

pub(crate) const COMMANDS: [&str; 14] = [
    "serve",
    "admin",
    "admin check",
    "admin stats",
    "admin groups",
    "admin backup",
    "admin restore",
    "admin purge",
    "admin token",
    "admin token add",
    "admin token list",
    "admin token revoke",
    "admin doctor",
    "admin health",
];

/// The help as clap writes it.
pub(crate) fn help(command: &str) -> String {
    let mut relay = Command::new(env!("CARGO_BIN_EXE_sync-relay"));
    relay.args(command.split_whitespace()).arg("--help");
    let output = relay.output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn golden_relay_docs() {
    let mut text = String::from("# sync-relay\n\n<!-- Written by `cargo xtask gen` from the command's own help. -->\n");
    text += "\n[hosting.md](hosting.md) says how these work together.\n";
    text += &format!("\n```text\n{}\n```\n", help("").trim());
    for command in COMMANDS {
        text += &format!("\n## sync-relay {command}\n\n```text\n{}\n```\n", help(command).trim());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/relay.md");
    if std::env::var_os("KSYNC_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/relay.md is stale: run `cargo xtask gen`");
}

#[test]
fn every_command_is_in_the_docs() {
    for parent in ["", "admin", "admin token"] {
        let listed = help(parent);
        let names = listed.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
        let names = names.filter(|l| l.starts_with("  ") && !l.starts_with("   "));
        for name in names.filter_map(|l| l.split_whitespace().next()).filter(|n| *n != "help") {
            let command = format!("{parent} {name}");
            assert!(COMMANDS.contains(&command.trim()), "{command}");
        }
    }
}

/// Commands and settings in the guide are those that there are.
#[test]
fn the_hosting_guide_names_what_there_is() {
    let guide = include_str!("../../../docs/hosting.md");
    let example = include_str!("../../sync-relay.example.toml");
    let all: String = COMMANDS.iter().map(|command| help(command)).collect();
    let words = |line: &str, of: &str| {
        line.split(of).nth(1).map(|rest| rest.split_whitespace().next().unwrap_or("").to_owned())
    };
    for line in guide.lines() {
        if let Some(word) = words(line, "sync-relay admin ").filter(|word| word.bytes().all(|b| b.is_ascii_lowercase()))
        {
            assert!(COMMANDS.contains(&format!("admin {word}").as_str()), "{line}");
        }
        let ours =
            ["sync-relay admin", "sync-relay serve", "relay-admin"].iter().find_map(|name| line.split_once(name));
        for flag in ours.into_iter().flat_map(|(_, arguments)| arguments.split("--").skip(1)) {
            let name = flag.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).next().unwrap_or_default();
            assert!(name.is_empty() || all.contains(&format!("--{name}")), "--{name} in: {line}");
        }
    }
    let settings = guide.split("```toml").skip(1).filter_map(|block| block.split("```").next());
    for line in settings.flat_map(str::lines).filter(|line| line.contains(" = ")) {
        let key = line.split(' ').next().unwrap();
        assert!(example.lines().any(|l| l.trim_start_matches("# ").starts_with(&format!("{key} = "))), "{line}");
    }
}

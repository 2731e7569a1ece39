//! docs/cli.md, written from the command's own help.

use std::path::Path;

use crate::harness::{ksync, run};

const COMMANDS: [&str; 42] = [
    "init",
    "join",
    "recover",
    "recovery-kit",
    "leave",
    "reset",
    "run",
    "wake",
    "wake-target",
    "wake-target show",
    "wake-target web-push",
    "wake-target apns",
    "wake-target fcm",
    "wake-target off",
    "wake-target key",
    "invite",
    "push",
    "pull",
    "snapshot",
    "skip",
    "file",
    "file put",
    "file get",
    "file list",
    "file remove",
    "devices",
    "devices remove",
    "backup",
    "backup export",
    "backup import",
    "vault",
    "vault show",
    "vault set",
    "alerts",
    "relay",
    "relay list",
    "relay set",
    "relay up",
    "relay drop",
    "suite",
    "status",
    "doctor",
];

const EVENTS: &str = include_str!("events.md");

/// The help as clap writes it.
pub(crate) fn help(command: &str) -> String {
    let mut ksync = ksync();
    ksync.args(command.split_whitespace()).arg("--help");
    let output = run(&mut ksync, b"");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn golden_cli_docs() {
    let mut text = String::from("# ksync\n\n<!-- Written by `cargo xtask gen` from the command's own help. -->\n");
    text += &format!("\n```text\n{}\n```\n", help("").trim());
    for command in COMMANDS {
        text += &format!("\n## ksync {command}\n\n```text\n{}\n```\n", help(command).trim());
    }
    text += "\n";
    text += EVENTS;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    if std::env::var_os("KSYNC_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/cli.md is stale: run `cargo xtask gen`");
}

#[test]
fn every_command_is_in_the_docs() {
    let listed = help("");
    let names = listed.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    // What a long help goes on with in the next line is indented further.
    let names = names.filter(|l| l.starts_with("  ") && !l.starts_with("   "));
    for name in names.filter_map(|l| l.split_whitespace().next()).filter(|n| *n != "help") {
        assert!(COMMANDS.contains(&name), "{name}");
    }
}

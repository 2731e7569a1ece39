//! Tries an app that `tauri add 0ksync` was run in, and nothing configured: `ksync-added FOLDER PROGRAM [--sql]`.
//!
//! The folder takes the devices' data. The app's page holds the package's `sync` in `window.sync`, and with `--sql` that of
//! tauri-plugin-sql in `window.Database`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it tells what it does on its standard output")]

use std::path::Path;
use std::process::ExitCode;

use ksync_e2e::{Launch, Screen, pages, until};
use serde_json::json;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, program, sql) = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [folder, program] => (Path::new(*folder), Path::new(*program), false),
        [folder, program, "--sql"] => (Path::new(*folder), Path::new(*program), true),
        _ => {
            eprintln!("usage: ksync-added FOLDER PROGRAM [--sql]");
            return ExitCode::from(2);
        }
    };
    try_out(folder, program, sql).await;
    ExitCode::SUCCESS
}

async fn try_out(folder: &Path, program: &Path, sql: bool) {
    let screen = Screen::start(1280, 900);
    let start = async |name: &str| Launch::of(program, &screen, &folder.join(name)).start().await;
    let (a, b) = (start("first").await, start("second").await);
    let wanted = if sql { "window.Database" } else { "(window.sync ?? window.__TAURI__?.ksync)" };
    for app in [&a, &b] {
        // The driver's session begins before the app's page does.
        let there = async || (app.run(&format!("return !!{wanted};"), vec![]).await == true).then_some(());
        until("the app's page", there).await;
    }
    if sql {
        let version = "const db = await window.Database.load('sqlite:own.db'); return await db.select('SELECT sqlite_version() AS v');";
        println!("tauri-plugin-sql answers {}", a.run(version, vec![]).await);
    }
    let receipt =
        a.run("const { id } = await (window.sync ?? window.__TAURI__.ksync).push('hello', { channel: 'notes' }); return id;", vec![]).await;
    assert!(receipt.as_str().is_some_and(|id| !id.is_empty()), "the receipt has no id: {receipt}");
    println!("sync.push() gave a receipt, {receipt}");
    pages::pair(&a, &b).await;
    println!("two copies are paired, and neither was told of a relay");
    b.run(pages::COLLECT, vec![]).await;
    a.run("await (window.sync ?? window.__TAURI__.ksync).push('after the pairing', { channel: 'notes' });", vec![])
        .await;
    until("what was pushed after the pairing", async || {
        let got = b.run("return window.got;", vec![]).await;
        got.as_array()?.contains(&json!("after the pairing")).then_some(())
    })
    .await;
    println!("what the first one pushed, the second one has");
}

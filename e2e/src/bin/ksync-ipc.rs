//! What a page gets out of `push`, beside a command that does nothing: `ksync-ipc FOLDER PROGRAM`, for an app that create-tauri-app
//! made and that holds the package's `sync` in `window.sync`. The folder takes the device's data.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it tells what it measures on its standard output")]

use std::path::Path;
use std::process::ExitCode;

use ksync_e2e::{App, Launch, Screen, until};
use serde_json::{Value, json};

/// How many calls one row is made of, and how many of them one script makes: each piece has the whole time limit for itself.
const CALLS: u32 = 10_000;
const IN_ONE_GO: u32 = 500;
/// How many are under way at once where a page does not wait for each.
const AT_ONCE: u32 = 64;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, program] = arguments.as_slice() else {
        eprintln!("usage: ksync-ipc FOLDER PROGRAM");
        return ExitCode::from(2);
    };
    let screen = Screen::start(1280, 900);
    let app = Launch::of(Path::new(program), &screen, Path::new(folder)).start().await;
    // The driver's session begins before the app's page does.
    until("the app's page", async || (app.run("return !!window.sync;", vec![]).await == true).then_some(())).await;
    app.run("await window.sync.push('the first one makes the group', { channel: 'bench' });", vec![]).await;
    println!("{CALLS} calls from a page        calls/s   p50 ms   p99 ms   of a command that does nothing");
    for at_once in [1, AT_ONCE] {
        let nothing = measure(&app, None, at_once).await;
        row("greet", at_once, &nothing, &nothing);
        for bytes in [100, 10 * 1024] {
            let push = measure(&app, Some(bytes), at_once).await;
            row(&format!("push of {bytes} B"), at_once, &push, &nothing);
        }
    }
    ExitCode::SUCCESS
}

/// Calls in the page, timed there: `{ perSecond, p50, p99 }`.
async fn measure(app: &App, bytes: Option<u32>, at_once: u32) -> Value {
    let begin = "
        const bytes = args[0];
        const data = new Uint8Array(bytes ?? 0);
        crypto.getRandomValues(data.subarray(0, Math.min(data.length, 65536)));
        window.call = bytes === null
          ? () => window.__TAURI_INTERNALS__.invoke('greet', { name: 'x' })
          : () => window.sync.push(data, { channel: 'bench' });
        window.times = [];
        window.seconds = 0;";
    app.run(begin, vec![json!(bytes)]).await;
    let piece = "
        const [calls, atOnce] = args;
        let left = calls;
        const worker = async () => {
          while (left-- > 0) {
            const began = performance.now();
            await window.call();
            window.times.push(performance.now() - began);
          }
        };
        const began = performance.now();
        await Promise.all(Array.from({ length: atOnce }, worker));
        window.seconds += (performance.now() - began) / 1000;";
    for _ in 0..CALLS / IN_ONE_GO {
        app.run(piece, vec![json!(IN_ONE_GO), json!(at_once)]).await;
    }
    let end = "
        const { times, seconds } = window;
        times.sort((a, b) => a - b);
        const at = (part) => times[Math.floor(part * (times.length - 1))];
        return { perSecond: times.length / seconds, p50: at(0.5), p99: at(0.99) };";
    app.run(end, vec![]).await
}

fn row(what: &str, at_once: u32, measured: &Value, nothing: &Value) {
    let figure = |of: &Value, name: &str| of[name].as_f64().unwrap_or(f64::NAN);
    let how = if at_once == 1 { "one at a time".to_owned() } else { format!("{at_once} at once") };
    println!(
        "{what:<16} {how:<13} {:>9.0} {:>8.2} {:>8.2} {:>8.2}",
        figure(measured, "perSecond"),
        figure(measured, "p50"),
        figure(measured, "p99"),
        figure(measured, "perSecond") / figure(nothing, "perSecond"),
    );
}

//! `sync-relay`: the relay as a program. See `sync-relay serve --help`.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;
use sync_relay::{Relay, RelayConfig, StartError};
use sync_types::Code;

mod cli;

/// Exit codes: done, could not run, wrong arguments.
const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let arguments = match cli::Cli::read(&arguments) {
        Ok(cli::Work::Serve(arguments)) => arguments,
        Ok(cli::Work::Admin(admin, settings)) => return run(admin, settings),
        Err(cli::Unusable::Usage(e)) => e.exit(),
        Err(cli::Unusable::Setting(e)) => return failed(&e),
    };
    cli::logging::start(arguments.log_format);
    let config = match arguments.config() {
        Ok(config) => config,
        Err(e) => return failed(&e),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let message = format!("cannot start threads: {e}");
            return failed(&StartError { code: Code::Io, message });
        }
    };
    match runtime.block_on(serve(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failed(&e),
    }
}

/// Does what a host wants done beside the relay.
fn run(admin: cli::admin::Admin, settings: Result<Box<cli::Serve>, StartError>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(admin.run(settings)),
        Err(e) => Err(StartError { code: Code::Io, message: format!("cannot start threads: {e}") }),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(e) => failed(&e),
    }
}

async fn serve(config: RelayConfig) -> Result<(), StartError> {
    // Before the ready line, so that a signal that follows it at once is not lost.
    let stop =
        stop_signal().map_err(|e| StartError { code: Code::Io, message: format!("cannot take signals: {e}") })?;
    let relay = Relay::start(config).await?;
    let http = relay.http_addr().map(|_| relay.http_url());
    let ready = json!({ "event": "ready", "address": relay.address(), "http": http });
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; the relay serves all the same.
    let _ = writeln!(out, "{ready}").and_then(|()| out.flush());
    drop(out);
    stop.await;
    tracing::info!("stopping");
    relay.shutdown().await;
    Ok(())
}

#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// One JSON line on stderr, behind whatever was logged.
fn failed(error: &StartError) -> ExitCode {
    let line = json!({ "event": "error", "code": error.code.as_str(), "message": error.message });
    let _ = writeln!(std::io::stderr().lock(), "{line}");
    ExitCode::from(if error.code == Code::InvalidArgument { USAGE } else { FAILED })
}

//! What is logged, and how.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What says how much is logged.
const VARIABLE: &str = "KSYNC_RELAY_LOG";
/// Other crates name addresses and endpoints of devices on levels below. QUIC warns of each connection whose device ends it, and
/// the pool of a database's connections of each session that waits for one.
const OTHERS: &str = "warn,noq_proto::connection=error,sqlx::pool=error";

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Logs to stderr from now on.
pub(crate) fn start(format: LogFormat) {
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&asked))
        .with_writer(std::io::stderr)
        .with_ansi(format == LogFormat::Text && std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// A level by itself is the relay's own: what it logs holds nothing of a user on any level. Of other crates only warnings are
/// logged, unless they are named.
fn filter(asked: &str) -> EnvFilter {
    let level = match asked.trim() {
        "" => Some(LevelFilter::INFO),
        text => text.parse::<LevelFilter>().ok(),
    };
    let built = match level {
        Some(level) => EnvFilter::try_new(format!("{OTHERS},sync_relay={level}")),
        None => EnvFilter::try_new(asked),
    };
    built.unwrap_or_else(|_| EnvFilter::new(format!("{OTHERS},sync_relay=info")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_by_itself_is_the_relays_own() {
        for (asked, directives) in [
            ("", "noq_proto::connection=error,sync_relay=info,sqlx::pool=error,warn"),
            ("debug", "noq_proto::connection=error,sync_relay=debug,sqlx::pool=error,warn"),
            ("TRACE", "noq_proto::connection=error,sync_relay=trace,sqlx::pool=error,warn"),
            ("iroh=debug", "iroh=debug"),
            ("=,=", "noq_proto::connection=error,sync_relay=info,sqlx::pool=error,warn"),
        ] {
            assert_eq!(filter(asked).to_string(), directives, "{asked}");
        }
    }
}

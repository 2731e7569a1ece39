//! Whether a relay would start, and what its host may not have meant, without starting it.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::Level::{Fine, Notable, Wrong};
use super::{Finding, is_running, look, size};
use crate::config::{Access, RelayConfig, StoreConfig, Waking};
use crate::hub::now_ms;
use crate::store::Look;
use crate::{Identity, StartError, date, identity, wake};

/// Below how many free bytes a disk is nearly full, and full for a relay.
const SCARCE: u64 = 1 << 30;
const NONE_LEFT: u64 = 64 << 20;
/// No clock that is right stands before this day.
const BUILT: &str = "2026-01-01";

/// Looks at a whole configuration. Makes and changes nothing.
pub async fn check(config: &RelayConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    let running = config.data.as_deref().is_some_and(is_running);
    if let Some(data) = &config.data {
        folder(data, &mut findings);
        key(config, data, &mut findings);
        space(data, config, &mut findings);
    }
    store(&config.store, &mut findings).await;
    access(config, &mut findings);
    wake(&config.wake, &mut findings);
    if running {
        findings.push(Finding::new(Fine, "ports", "a relay runs on this folder: its ports are not tried"));
    } else {
        ports(config, &mut findings);
    }
    clock(&config.store, &mut findings);
    findings
}

fn folder(data: &Path, findings: &mut Vec<Finding>) {
    let shown = data.display();
    // The folder itself, or the nearest there is of what it lies in.
    let there = data.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let probe = there.join(format!(".sync-relay-check-{}", std::process::id()));
    let writable = std::fs::File::options().write(true).create_new(true).open(&probe);
    let _ = std::fs::remove_file(&probe);
    findings.push(match writable {
        Err(e) => Finding::of("folder", &StartError::io("write into", there, &e)),
        Ok(_) if there == data => Finding::new(Fine, "folder", format!("{shown} can be written")),
        Ok(_) => Finding::new(Fine, "folder", format!("{shown} will be made")),
    });
}

fn wake(waking: &Waking, findings: &mut Vec<Finding>) {
    let settings = match waking {
        Waking::Off => return findings.push(Finding::new(Fine, "wake", "devices that sleep are not woken")),
        Waking::On { settings: None } => Ok(wake::Settings::default()),
        Waking::On { settings: Some(path) } => wake::Settings::read(path),
    };
    findings.push(match settings {
        Ok(settings) => Finding::new(Fine, "wake", format!("devices that sleep are woken by {}", settings.services())),
        Err(e) => Finding::new(Wrong, "wake", e.to_string()),
    });
}

fn key(config: &RelayConfig, data: &Path, findings: &mut Vec<Finding>) {
    findings.push(match (&config.identity, Identity::load(data)) {
        (Some(_), Ok(Some(_))) => {
            let text = format!("KSYNC_RELAY_SECRET is used, and {} in the folder is not", identity::FILE);
            Finding::new(Notable, "key", text)
        }
        (Some(_), _) => Finding::new(Fine, "key", "the key comes from KSYNC_RELAY_SECRET"),
        (None, Ok(None)) => Finding::new(Fine, "key", "a key will be made at the first start"),
        (None, Ok(Some(_))) if is_open_to_others(&data.join(identity::FILE)) => {
            let text = format!("others than its owner may read {}: chmod 600 it", data.join(identity::FILE).display());
            Finding::new(Notable, "key", text)
        }
        (None, Ok(Some(_))) => Finding::new(Fine, "key", "the relay's key is there"),
        (None, Err(e)) => Finding::of("key", &e),
    });
}

fn space(data: &Path, config: &RelayConfig, findings: &mut Vec<Finding>) {
    let there = data.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let Ok(free) = fs4::available_space(there) else { return };
    let (level, hint) = match free {
        0..NONE_LEFT => (Wrong, ": pushes will be refused; free some space"),
        NONE_LEFT..SCARCE => (Notable, ": that is little"),
        _ => (Fine, ""),
    };
    findings.push(Finding::new(level, "disk", format!("{} are free on the disk{hint}", size(free))));
    if let StoreConfig::Sqlite { path, max_bytes: Some(most) } = &config.store {
        let used = std::fs::metadata(path).map_or(0, |file| file.len());
        if most.saturating_sub(used) > free {
            let text = format!("max-store-bytes lets the database grow by more than the {} that are free", size(free));
            findings.push(Finding::new(Notable, "disk", text));
        }
    }
}

async fn store(store: &StoreConfig, findings: &mut Vec<Finding>) {
    let path = match store {
        StoreConfig::Sqlite { path, .. } => path,
        #[cfg(feature = "postgres")]
        StoreConfig::Postgres { .. } => {
            let (looked, text) = (look(store).await, "the PostgreSQL database answers, and is a relay's");
            return findings.push(opened(looked, "the PostgreSQL database", text.to_owned()).await);
        }
        StoreConfig::Memory => return,
    };
    if !path.exists() {
        let level = if path.parent().is_none_or(|folder| folder.as_os_str().is_empty() || folder.exists()) {
            Fine
        } else {
            // Only the data folder itself is made.
            Notable
        };
        let text = format!("the database {} will be made at the first start", path.display());
        return findings.push(Finding::new(level, "store", text));
    }
    let text = format!("{} is a relay's database", path.display());
    findings.push(opened(look(store).await, &path.display().to_string(), text).await);
}

async fn opened(looked: Result<Box<dyn Look>, StartError>, name: &str, fine: String) -> Finding {
    match looked {
        Ok(view) => {
            view.close().await;
            Finding::new(Fine, "store", fine)
        }
        Err(e) if e.message.contains("older relay") => {
            let text = format!("{name} is of an older relay, and is brought up to date by the next start");
            Finding::new(Notable, "store", text)
        }
        Err(e) if e.message.ends_with("holds nothing yet") => {
            Finding::new(Fine, "store", format!("{name} is empty: its tables will be made at the first start"))
        }
        Err(e) => Finding::of("store", &e),
    }
}

fn access(config: &RelayConfig, findings: &mut Vec<Finding>) {
    let beyond = |address: &Option<SocketAddr>| address.is_some_and(|at| !at.ip().is_loopback());
    let public = beyond(&config.listen) || beyond(&config.http);
    match &config.access {
        Access::Open if public => {
            findings.push(Finding::new(Notable, "access", "everybody who reaches this relay may make groups on it"));
        }
        Access::Open | Access::Own => findings.push(Finding::new(Fine, "access", "open to whoever is on this machine")),
        Access::Tokens(tokens) => {
            let (all, usable) = (tokens.len(), tokens.usable(now_ms()));
            let level = if usable == 0 { Notable } else { Fine };
            let text = format!("{usable} of {all} access tokens make groups at present");
            findings.push(Finding::new(level, "access", text));
            if is_open_to_others(tokens.file()) {
                let text = format!("others than its owner may read {}: chmod 600 it", tokens.file().display());
                findings.push(Finding::new(Notable, "access", text));
            }
        }
    }
    if let Some(url) = &config.public_url
        && url.origin().starts_with("http://")
        && !matches!(url.host(), "localhost" | "127.0.0.1" | "[::1]")
    {
        let text = format!("{} is without TLS: whoever is between can hand devices another relay's key", url.origin());
        findings.push(Finding::new(Notable, "public-url", text));
    }
}

fn ports(config: &RelayConfig, findings: &mut Vec<Finding>) {
    let mut tried = |what: &str, address: SocketAddr, taken: std::io::Result<()>| {
        findings.push(match taken {
            Ok(()) => Finding::new(Fine, "ports", format!("{address} is free for {what}")),
            Err(e) => Finding::of("ports", &StartError::listen(what, address, &e)),
        });
    };
    if let Some(address) = config.listen {
        tried("QUIC", address, UdpSocket::bind(address).map(drop));
    }
    for (what, address) in [("HTTP", config.http), ("metrics", config.host.metrics)] {
        if let Some(address) = address {
            tried(what, address, TcpListener::bind(address).map(drop));
        }
    }
}

fn clock(store: &StoreConfig, findings: &mut Vec<Finding>) {
    let now = now_ms();
    let built = date::parse(BUILT).unwrap_or(0);
    let written = match store {
        StoreConfig::Sqlite { path, .. } => std::fs::metadata(path).and_then(|file| file.modified()).ok(),
        _ => None,
    };
    let written = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_millis() as u64);
    findings.push(if now < built {
        Finding::new(Wrong, "clock", format!("the clock says {}: set it", date::minute(now)))
    } else if written > now + date::DAY_MS {
        let text =
            format!("the clock says {}, and the database was written on {}", date::minute(now), date::day(written));
        Finding::new(Wrong, "clock", text)
    } else {
        Finding::new(Fine, "clock", format!("it is {}", date::minute(now)))
    });
}

/// Whether others than the owner may read a file.
fn is_open_to_others(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

//! What is wrong or notable with a relay, in words.

use data_encoding::HEXLOWER;
use serde_json::Value;

use super::Level::{Fine, Notable, Wrong};
use super::check::check;
use super::{Finding, Order, ask, is_running, probe, size};
use crate::config::{PublicUrl, RelayConfig, StoreConfig};
use crate::hub::now_ms;
use crate::{Identity, date};

/// From which part of its bound on a store is nearly full, in percent.
const NEARLY: u64 = 90;
/// From when on it is notable how long an entry waits: half of the time after which a member lapses.
const WAITS_DAYS: u64 = 15;
/// Refusals that say something of the host's own settings, and what.
const TELLING: [(&str, &str); 5] = [
    ("QUOTA", "a group or the disk is full: see admin groups, max-group-bytes, max-store-bytes"),
    ("ACCESS_DENIED", "groups were to be made with no token or a wrong one: see admin token list"),
    ("TOKEN_SPENT", "a token has made as many groups as it may: see admin token list"),
    ("TOO_MANY_CONNECTIONS", "more devices came than max-connections or max-connections-per-ip let in"),
    ("INTERNAL", "the relay failed: see its log"),
];

/// Looks at a relay, running or not.
pub async fn doctor(config: &RelayConfig) -> Vec<Finding> {
    let mut findings = check(config).await;
    // What is as it should be, `check` tells.
    findings.retain(|finding| finding.level > Fine);
    let Some(data) = config.data.as_deref() else { return findings };
    if !is_running(data) {
        findings.push(Finding::new(Wrong, "relay", format!("no relay runs on {}", data.display())));
        return findings;
    }
    findings.push(Finding::new(Fine, "relay", format!("a relay runs on {}", data.display())));
    http(config, &mut findings).await;
    public(config, &mut findings).await;
    match ask(data, &Order::Metrics).await {
        Ok(answer) => counters(&answer.metrics, config, &mut findings),
        Err(e) => findings.push(Finding::of("relay", &e)),
    }
    findings
}

async fn http(config: &RelayConfig, findings: &mut Vec<Finding>) {
    let Some(mut address) = config.http.filter(|address| address.port() != 0) else { return };
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let Ok(url) = PublicUrl::parse(&format!("http://{address}")) else { return };
    findings.push(match probe::get(&url, "/ready").await {
        Ok((200, _)) => Finding::new(Fine, "http", format!("it answers at {address} and is ready")),
        Ok((503, _)) => Finding::new(Wrong, "http", format!("it answers at {address}, and its store does not")),
        Ok((status, _)) => Finding::new(Wrong, "http", format!("{address} answers with {status}: is that the relay?")),
        Err(reason) => Finding::new(Wrong, "http", format!("it does not answer at {address}: {reason}")),
    });
}

/// Whether devices that are given the public URL come to this relay.
async fn public(config: &RelayConfig, findings: &mut Vec<Finding>) {
    let Some(url) = &config.public_url else { return };
    let identity = config.identity.clone().or_else(|| Identity::load(config.data.as_deref()?).ok()?);
    let Some(identity) = identity else { return };
    let own = HEXLOWER.encode(identity.secret_key().public().as_bytes());
    let origin = url.origin();
    let finding = match probe::get(url, "/.well-known/0ksync").await {
        Err(reason) => Finding::new(Wrong, "public-url", format!("{origin} does not answer: {reason}")),
        Ok((200, body)) => match serde_json::from_str::<Value>(&body)
            .ok()
            .and_then(|v| Some(v["endpoint"].as_str()? == own))
        {
            Some(true) => Finding::new(Fine, "public-url", format!("{origin} leads to this relay")),
            Some(false) => {
                Finding::new(Wrong, "public-url", format!("{origin} leads to another relay: devices will not trust it"))
            }
            None => Finding::new(Wrong, "public-url", format!("what {origin} answers is no relay's")),
        },
        Ok((status, _)) => Finding::new(
            Wrong,
            "public-url",
            format!("{origin}/.well-known/0ksync answers with {status}: does the proxy pass it on?"),
        ),
    };
    findings.push(finding);
}

fn counters(text: &str, config: &RelayConfig, findings: &mut Vec<Finding>) {
    let value = |name: &str| metric(text, name).unwrap_or(0);
    let failures = value("ksync_store_failures_total");
    if failures > 0 {
        let text = format!("{failures} transactions failed since the start: see the log for why");
        findings.push(Finding::new(Wrong, "store", text));
    }
    if let StoreConfig::Sqlite { max_bytes: Some(most), .. } = &config.store {
        let used = value("ksync_store_bytes").saturating_sub(value("ksync_store_free_bytes"));
        if used * 100 >= most * NEARLY {
            let text = format!(
                "{} of the {} of max-store-bytes are used: pushes are refused once it is full",
                size(used),
                size(*most)
            );
            findings.push(Finding::new(Notable, "store", text));
        }
    }
    if value("ksync_token_file_broken") > 0 {
        let text = "the file of access tokens cannot be used; the list from before it broke holds: see the log and admin token list";
        findings.push(Finding::new(Wrong, "access", text));
    }
    let lapsed = value("ksync_lapsed_members");
    if lapsed > 0 {
        let text = format!(
            "{lapsed} members were silent for too long: commits of their groups wait for them, envelopes do not"
        );
        findings.push(Finding::new(Notable, "groups", text));
    }
    let oldest_ms = value("ksync_oldest_entry_timestamp_seconds") * 1_000;
    let waits = now_ms().saturating_sub(oldest_ms);
    if oldest_ms > 0 && waits > WAITS_DAYS * date::DAY_MS {
        let text = format!("an entry has waited for {}: see admin groups --sort lag", date::span(waits));
        findings.push(Finding::new(Notable, "groups", text));
    }
    for (code, meaning) in TELLING {
        let times = value(&format!("ksync_refused_total{{code=\"{code}\"}}"));
        if times > 0 {
            findings.push(Finding::new(Notable, "refusals", format!("{times} × {code}: {meaning}")));
        }
    }
}

/// One figure of the relay's text; what is below nothing reads as nothing.
fn metric(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_told_in_words() {
        let mut config = RelayConfig::in_memory();
        config.store = StoreConfig::Sqlite { path: "relay.db".into(), max_bytes: Some(1_000) };
        let text = "ksync_store_bytes 990\nksync_store_free_bytes 10\nksync_store_failures_total 2\n\
                    ksync_token_file_broken 1\nksync_lapsed_members 3\nksync_oldest_entry_timestamp_seconds 5\n\
                    ksync_refused_total{code=\"QUOTA\"} 4\nksync_refused_total{code=\"STALE_EPOCH\"} 9\n";
        let mut findings = Vec::new();
        counters(text, &config, &mut findings);
        let found: Vec<(&str, bool)> = findings.iter().map(|f| (f.about, f.level == Wrong)).collect();
        let expected = [
            ("store", true),
            ("store", false),
            ("access", true),
            ("groups", false),
            ("groups", false),
            ("refusals", false),
        ];
        assert_eq!(found, expected, "{findings:?}");
        let mut quiet = Vec::new();
        counters("ksync_store_bytes 10\nksync_access_tokens -1\n", &config, &mut quiet);
        assert!(quiet.is_empty(), "{quiet:?}");
    }
}

//! The status page: what a host wants to see at a glance, written by the relay itself, without a script. It names nobody:
//! groups stand there by the first digits of their ids.

use std::fmt::Write;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use data_encoding::BASE64;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{PROBE, Shown};
use crate::admin::{short, size};
use crate::date;
use crate::hub::now_ms;
use crate::store::{GroupSummary, LAPSED_COUNTED, Order, StoreError};

const STYLE: &str = include_str!("page.css");
/// In how many seconds a browser asks again.
const REFRESH_S: u64 = 15;
/// How many groups each list has.
const GROUPS: u32 = 10;
/// For how long the lists hold: making them costs as much as there are groups.
const LISTS_HOLD: Duration = Duration::from_secs(60);

/// Only this style, and forms to here; nothing else is loaded or run.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = BASE64.encode(&Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("the policy is ASCII")
});

/// The groups that were largest a while ago.
pub(crate) type Largest = Mutex<Option<Lists>>;

/// By size, and by lag.
pub(crate) struct Lists {
    made: Instant,
    size: Vec<GroupSummary>,
    lag: Vec<GroupSummary>,
}

/// A page with that in its body.
pub(super) fn answer(status: StatusCode, title: &str, refresh_s: Option<u64>, body: &str) -> Response {
    let refresh = refresh_s.map(|s| format!("<meta http-equiv=\"refresh\" content=\"{s}\">")).unwrap_or_default();
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">{refresh}\
         <title>{title}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, Html(html)).into_response()
}

/// The page.
pub(super) async fn status(State(shown): State<Shown>) -> Response {
    (shown.refresh)();
    let ready = shown.is_ready().await;
    let lists = shown.largest.lock().await;
    let lists = filled(lists, &shown).await;
    let body = body(&shown, ready, lists.as_ref(), now_ms());
    let title = if ready { "sync-relay: ready" } else { "sync-relay: not ready" };
    answer(StatusCode::OK, title, Some(REFRESH_S), &body)
}

async fn filled<'a>(
    mut lists: tokio::sync::MutexGuard<'a, Option<Lists>>,
    shown: &Shown,
) -> tokio::sync::MutexGuard<'a, Option<Lists>> {
    if lists.as_ref().is_some_and(|lists| lists.made.elapsed() < LISTS_HOLD) {
        return lists;
    }
    let read = async {
        let size = shown.store.largest(Order::Size, GROUPS).await?;
        let lag = shown.store.largest(Order::Lag, GROUPS).await?;
        Ok::<_, StoreError>(Lists { made: Instant::now(), size, lag })
    };
    match timeout(PROBE, read).await {
        Ok(Ok(read)) => *lists = Some(read),
        Ok(Err(error)) => tracing::warn!(%error, "the groups cannot be listed"),
        // An older list is better than none.
        Err(_) => tracing::warn!("the groups cannot be listed in time"),
    }
    lists
}

fn body(shown: &Shown, ready: bool, lists: Option<&Lists>, now_ms: u64) -> String {
    let m = &shown.metrics;
    let count = |gauge: i64| u64::try_from(gauge).unwrap_or(0);
    let started_ms = count(m.started_at.value()) * 1_000;
    let mut out = String::with_capacity(16 * 1024);
    let state = if ready { "<p class=\"state\">ready</p>" } else { "<p class=\"state bad\">not ready</p>" };
    let _ = write!(
        out,
        "<header><h1>sync-relay</h1>{state}<p>version {}, up for {}</p>{}</header>\
         <p class=\"address\">Devices pin <code>{}</code>. {}</p><main>",
        env!("CARGO_PKG_VERSION"),
        date::span(now_ms.saturating_sub(started_ms)),
        shown.guard.log_out_form(),
        escaped(&shown.address),
        match shown.access {
            "open" => "Whoever reaches it may make groups.",
            "token" => "Making a group wants an access token.",
            _ => "Its own process alone makes groups.",
        },
    );

    let oldest_ms = count(m.oldest_entry_at.value()) * 1_000;
    let oldest = if oldest_ms == 0 { "none".to_owned() } else { date::span(now_ms.saturating_sub(oldest_ms)) };
    let failed = m.failed_transactions.value();
    out.push_str("<h2>At present</h2><dl class=\"tiles\">");
    for (name, value, bad) in [
        ("Connections", number(count(m.connections.value())), false),
        ("Sessions", number(count(m.sessions.value())), false),
        ("Pairings", number(count(m.slots.value())), false),
        ("Groups", number(count(m.groups.value())), false),
        ("Entries waiting", number(count(m.entries.value())), false),
        ("Oldest entry waits", oldest, false),
        ("Queue for the store", number(count(m.waiting.value())), false),
        ("Lapsed members", lapsed(count(m.lapsed.value())), false),
        ("Store", size(count(m.store_bytes.value())), false),
        ("Failed transactions", number(failed), failed > 0),
    ] {
        let class = if bad { " class=\"bad\"" } else { "" };
        let _ = write!(out, "<div{class}><dt>{name}</dt><dd>{value}</dd></div>");
    }
    out.push_str("</dl><div class=\"columns\">");
    out.push_str("<div>");
    traffic(&mut out, shown);
    refusals(&mut out, shown);
    out.push_str("</div>");
    store(&mut out, shown);
    out.push_str("</div><div class=\"columns\">");
    let (size, lag) = lists.map_or((&[][..], &[][..]), |lists| (&lists.size, &lists.lag));
    groups(&mut out, "largest", "Largest groups", "By the bytes that wait.", size, now_ms);
    groups(
        &mut out,
        "lagging",
        "Groups that lag",
        "By the entries that the slowest member has not acknowledged.",
        lag,
        now_ms,
    );
    let _ = write!(
        out,
        "</div></main><footer><p>{}. This page asks again every {REFRESH_S} seconds, and for the groups once a minute. \
         Groups are shown by the first digits of their ids.</p></footer>",
        date::minute(now_ms)
    );
    out
}

fn traffic(out: &mut String, shown: &Shown) {
    let m = &shown.metrics;
    let rows = [
        ("Envelopes accepted", number(m.accepted.value()), size(m.accepted_bytes.value())),
        ("Entries delivered", number(m.delivered.value()), size(m.delivered_bytes.value())),
        ("Entries deleted", number(m.deleted.value()), String::new()),
        ("Changes of groups", number(m.commits.value()), String::new()),
        ("Groups made", number(m.groups_made.value()), String::new()),
        ("Groups purged", number(m.groups_purged.value()), String::new()),
        ("Answers over HTTP", number(m.answers()), String::new()),
    ];
    table(out, "traffic", "Traffic", "Since the start.", &["What", "Number", "Size"]);
    for (name, times, bytes) in rows {
        let _ = write!(out, "<tr><th scope=\"row\">{name}</th><td>{times}</td><td>{bytes}</td></tr>");
    }
    out.push_str(END);
}

fn store(out: &mut String, shown: &Shown) {
    let m = &shown.metrics;
    let bytes = |gauge: i64| size(u64::try_from(gauge).unwrap_or(0));
    let mut rows = vec![
        ("Database and log", bytes(m.store_bytes.value()), false),
        ("Of these free", bytes(m.store_free_bytes.value()), false),
        ("Bound", shown.most_bytes.map_or_else(|| "the disk".to_owned(), size), false),
        ("Free on the disk", bytes(m.disk_free_bytes.value()), false),
        ("Transactions", number(m.transactions.value()), false),
        ("Requests waiting", bytes(m.waiting_bytes.value()), false),
    ];
    if m.tokens.value() >= 0 {
        let broken = m.token_file_broken.value() > 0;
        let text = if broken { "file broken, an older list holds".to_owned() } else { m.tokens.value().to_string() };
        rows.push(("Access tokens in use", text, broken));
    }
    if let Some(process) = crate::metrics::process::read() {
        rows.push(("Memory", size(process.resident_bytes), false));
        rows.push(("Processor time", date::span((process.cpu_seconds * 1_000.0) as u64), false));
    }
    table(out, "store", "Store and process", "At present.", &["What", "Value"]);
    for (name, value, bad) in rows {
        let class = if bad { " class=\"bad\"" } else { "" };
        let _ = write!(out, "<tr><th scope=\"row\">{name}</th><td{class}>{value}</td></tr>");
    }
    out.push_str(END);
}

fn refusals(out: &mut String, shown: &Shown) {
    table(out, "refusals", "Refusals", "Since the start, by code.", &["Code", "Number"]);
    let mut rows: Vec<_> = shown.metrics.refusals_by_code().collect();
    rows.sort_by_key(|(code, times)| (std::cmp::Reverse(*times), *code));
    if rows.is_empty() {
        out.push_str("<tr><td colspan=\"2\">None</td></tr>");
    }
    for (code, times) in rows {
        let _ = write!(out, "<tr><th scope=\"row\"><code>{code}</code></th><td>{}</td></tr>", number(times));
    }
    out.push_str(END);
}

fn groups(out: &mut String, id: &str, title: &str, caption: &str, groups: &[GroupSummary], now_ms: u64) {
    table(out, id, title, caption, &["Group", "Size", "Lag", "Oldest", "Entries", "Members"]);
    if groups.is_empty() {
        out.push_str("<tr><td colspan=\"6\">None</td></tr>");
    }
    for group in groups {
        let oldest = group.oldest_at_s.map(|at| date::span(now_ms.saturating_sub(at * 1_000)));
        let _ = write!(
            out,
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            short(&group.group),
            size(group.bytes),
            number(group.lag),
            oldest.as_deref().unwrap_or("none"),
            number(group.entries),
            group.members,
        );
    }
    out.push_str(END);
}

/// A heading and the beginning of its table, which can be scrolled sideways by hand and by key.
fn table(out: &mut String, id: &str, title: &str, caption: &str, columns: &[&str]) {
    let _ = write!(
        out,
        "<section><h2 id=\"{id}\">{title}</h2><div class=\"scroll\" role=\"region\" aria-labelledby=\"{id}\" tabindex=\"0\">\
         <table><caption>{caption}</caption><thead><tr>"
    );
    for column in columns {
        let _ = write!(out, "<th scope=\"col\">{column}</th>");
    }
    out.push_str("</tr></thead><tbody>");
}

/// What ends what [`table`] begins.
const END: &str = "</tbody></table></div></section>";

fn lapsed(counted: u64) -> String {
    if counted >= LAPSED_COUNTED { format!("{} or more", number(LAPSED_COUNTED)) } else { number(counted) }
}

/// With a thin space between thousands.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_text_is_escaped() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(escaped("<a b=\"&\">"), "&lt;a b=&quot;&amp;&quot;&gt;");
    }
}

//! Counters for the host, in Prometheus's text format. Writing and reading them costs the same however many groups there
//! are, and no label holds anything of a user.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sync_types::Code;

pub(crate) mod process;

/// Upper bounds of the append latency's buckets, in microseconds.
const LATENCY_BOUNDS_US: [u64; 12] =
    [250, 500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 25_000, 100_000, 500_000, 2_500_000];

/// What becomes of a push that is to wake a device.
pub const WAKES: [&str; 5] = ["accepted", "gone", "retried", "refused", "dropped"];

/// A value that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// What it stands at.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A value that grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds to it, or takes away.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// What it stands at.
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// How long things took.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts `times` things that took this long.
    pub fn record(&self, took: Duration, times: u64) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(LATENCY_BOUNDS_US.len());
        self.buckets[bucket].fetch_add(times, Relaxed);
        self.sum_us.fetch_add(us.saturating_mul(times), Relaxed);
    }

    /// How many things were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Relaxed)).sum()
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        head(out, name, help, "histogram");
        let mut below = 0;
        for (bucket, bound) in self.buckets.iter().zip(LATENCY_BOUNDS_US) {
            below += bucket.load(Relaxed);
            line(out, &format!("{name}_bucket{{le=\"{}\"}}", seconds(bound)), below);
        }
        below += self.buckets[LATENCY_BOUNDS_US.len()].load(Relaxed);
        line(out, &format!("{name}_bucket{{le=\"+Inf\"}}"), below);
        line(out, &format!("{name}_sum"), seconds(self.sum_us.load(Relaxed)));
        line(out, &format!("{name}_count"), below);
    }
}

/// Everything that `/metrics` shows.
#[derive(Debug)]
pub struct Metrics {
    /// Connections that are open.
    pub connections: Gauge,
    /// Sessions that are attached to a group.
    pub sessions: Gauge,
    /// Streams that carry a pairing.
    pub slots: Gauge,
    /// Push frames that came.
    pub pushes: Counter,
    /// Envelopes that were accepted.
    pub accepted: Counter,
    /// Bytes of envelopes that were accepted.
    pub accepted_bytes: Counter,
    /// Entries that were put into frames for devices.
    pub delivered: Counter,
    /// Entries that the store holds.
    pub entries: Gauge,
    /// Entries that were deleted after their acknowledgement.
    pub deleted: Counter,
    /// Changes of groups that were ordered.
    pub commits: Counter,
    /// Groups that the store holds.
    pub groups: Gauge,
    /// Groups that were made.
    pub groups_made: Counter,
    /// Groups that the host deleted.
    pub groups_purged: Counter,
    /// Devices that wait to be woken.
    pub wakes_waiting: Gauge,
    /// Pushes that were to wake a device, by what became of them, as [`WAKES`] has it.
    pub wakes: [Gauge; WAKES.len()],
    /// Access tokens that make groups at present; -1 where none is wanted.
    pub tokens: Gauge,
    /// 1 while the file of access tokens cannot be used and an older list holds.
    pub token_file_broken: Gauge,
    /// Large contents that are here or coming.
    pub content: Gauge,
    /// Bytes of these.
    pub content_bytes: Gauge,
    /// Bytes of large content that came.
    pub content_taken_bytes: Counter,
    /// Large contents that were deleted, as every member had them or their time was over.
    pub content_deleted: Counter,
    /// When the oldest held entry came, in seconds since the Unix epoch; 0 without one, or if the store cannot tell.
    pub oldest_entry_at: Gauge,
    /// Bytes that the store has on the disk and does not use.
    pub store_free_bytes: Gauge,
    /// Members that hold back nothing any more, as they were silent for too long.
    pub lapsed: Gauge,
    /// Transactions that the store made durable.
    pub transactions: Counter,
    /// Transactions that the store failed to make.
    pub failed_transactions: Counter,
    /// Groups that are in memory.
    pub groups_cached: Gauge,
    /// From a push's arrival until it is durable.
    pub append: Histogram,
    /// The store's size in bytes.
    pub store_bytes: Gauge,
    /// Bytes of entries that were put into frames for devices.
    pub delivered_bytes: Counter,
    /// Requests that wait for the store.
    pub waiting: Gauge,
    /// Bytes of these, roughly.
    pub waiting_bytes: Gauge,
    /// Bytes that are free on the disk that the data folder lies on.
    pub disk_free_bytes: Gauge,
    /// When the relay started, in seconds since the Unix epoch.
    pub started_at: Gauge,
    http: [[Counter; STATUSES.len()]; ROUTES.len()],
    refused: Vec<Counter>,
}

/// What HTTP requests are counted as.
const ROUTES: [&str; 7] = ["health", "ready", "metrics", "status", "login", "well-known", "other"];
/// What answers are counted as, by the first digit of their status, from 2 on.
const STATUSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            connections: Gauge::default(),
            sessions: Gauge::default(),
            slots: Gauge::default(),
            pushes: Counter::default(),
            accepted: Counter::default(),
            accepted_bytes: Counter::default(),
            delivered: Counter::default(),
            entries: Gauge::default(),
            deleted: Counter::default(),
            commits: Counter::default(),
            groups: Gauge::default(),
            groups_made: Counter::default(),
            groups_purged: Counter::default(),
            wakes_waiting: Gauge::default(),
            wakes: Default::default(),
            tokens: Gauge::default(),
            token_file_broken: Gauge::default(),
            content: Gauge::default(),
            content_bytes: Gauge::default(),
            content_taken_bytes: Counter::default(),
            content_deleted: Counter::default(),
            oldest_entry_at: Gauge::default(),
            store_free_bytes: Gauge::default(),
            lapsed: Gauge::default(),
            transactions: Counter::default(),
            failed_transactions: Counter::default(),
            groups_cached: Gauge::default(),
            append: Histogram::default(),
            store_bytes: Gauge::default(),
            delivered_bytes: Counter::default(),
            waiting: Gauge::default(),
            waiting_bytes: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            started_at: Gauge::default(),
            http: Default::default(),
            refused: Code::ALL.iter().map(|_| Counter::default()).collect(),
        }
    }
}

impl Metrics {
    /// Counts a refusal.
    pub fn refused(&self, code: Code) {
        if let Some(i) = Code::ALL.iter().position(|c| *c == code) {
            self.refused[i].add(1);
        }
    }

    /// How often that code was the answer.
    pub fn refusals(&self, code: Code) -> u64 {
        Code::ALL.iter().position(|c| *c == code).map_or(0, |i| self.refused[i].value())
    }

    /// Every code that was an answer, with how often it was.
    pub fn refusals_by_code(&self) -> impl Iterator<Item = (Code, u64)> {
        let counted = Code::ALL.iter().zip(&self.refused).map(|(code, counter)| (*code, counter.value()));
        counted.filter(|(_, times)| *times > 0)
    }

    /// Counts an answer over HTTP.
    pub(crate) fn answered(&self, path: &str, status: u16) {
        let route = match path {
            "/health" => 0,
            "/ready" => 1,
            "/metrics" => 2,
            "/" => 3,
            "/login" | "/logout" => 4,
            "/.well-known/0ksync" => 5,
            _ => 6,
        };
        self.http[route][usize::from(status / 100).clamp(2, 5) - 2].add(1);
    }

    /// How many answers were given over HTTP.
    pub fn answers(&self) -> u64 {
        self.http.iter().flatten().map(Counter::value).sum()
    }

    /// All of it as Prometheus reads it.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(12 * 1024);
        for (gauge, name, help) in [
            (&self.connections, "ksync_connections", "Connections that are open."),
            (&self.sessions, "ksync_sessions", "Sessions that are attached to a group."),
            (&self.slots, "ksync_pairing_streams", "Streams that carry a pairing."),
            (&self.waiting, "ksync_waiting_requests", "Requests that wait for the store."),
            (&self.waiting_bytes, "ksync_waiting_bytes", "Bytes of the requests that wait for the store."),
            (&self.disk_free_bytes, "ksync_disk_free_bytes", "Bytes that are free on the disk of the data folder."),
            (&self.started_at, "ksync_start_time_seconds", "When the relay started."),
            (&self.entries, "ksync_entries", "Entries that wait for acknowledgement."),
            (&self.groups, "ksync_groups", "Groups that the store holds."),
            (&self.groups_cached, "ksync_groups_cached", "Groups that are in memory."),
            (&self.store_bytes, "ksync_store_bytes", "Size of the store."),
            (
                &self.store_free_bytes,
                "ksync_store_free_bytes",
                "Bytes that the store has on the disk and does not use.",
            ),
            (&self.content, "ksync_content", "Large contents that are here or coming."),
            (&self.content_bytes, "ksync_content_bytes", "Bytes of large content that are here or coming."),
            (&self.wakes_waiting, "ksync_wakes_waiting", "Devices that wait to be woken."),
            (&self.lapsed, "ksync_lapsed_members", "Members that were silent for too long; counted up to 10000."),
            (
                &self.oldest_entry_at,
                "ksync_oldest_entry_timestamp_seconds",
                "When the oldest held entry came; 0 without one.",
            ),
            (
                &self.tokens,
                "ksync_access_tokens",
                "Access tokens that make groups at present; -1 where none is wanted.",
            ),
            (
                &self.token_file_broken,
                "ksync_token_file_broken",
                "1 while the file of access tokens cannot be used and an older list holds.",
            ),
        ] {
            head(&mut out, name, help, "gauge");
            line(&mut out, name, gauge.value());
        }
        for (counter, name, help) in [
            (&self.pushes, "ksync_pushes_total", "Push frames that came."),
            (&self.accepted, "ksync_accepted_total", "Envelopes that were accepted."),
            (&self.accepted_bytes, "ksync_accepted_bytes_total", "Bytes of envelopes that were accepted."),
            (&self.delivered, "ksync_delivered_total", "Entries that were sent to devices."),
            (&self.delivered_bytes, "ksync_delivered_bytes_total", "Bytes of entries that were sent to devices."),
            (&self.deleted, "ksync_deleted_total", "Entries that were deleted after their acknowledgement."),
            (&self.commits, "ksync_commits_total", "Changes of groups that were ordered."),
            (&self.groups_made, "ksync_groups_made_total", "Groups that were made."),
            (&self.groups_purged, "ksync_groups_purged_total", "Groups that the host deleted."),
            (&self.content_taken_bytes, "ksync_content_taken_bytes_total", "Bytes of large content that came."),
            (&self.content_deleted, "ksync_content_deleted_total", "Large contents that were deleted."),
            (&self.transactions, "ksync_store_transactions_total", "Transactions that the store made durable."),
            (&self.failed_transactions, "ksync_store_failures_total", "Transactions that the store failed to make."),
        ] {
            head(&mut out, name, help, "counter");
            line(&mut out, name, counter.value());
        }
        self.append.write(&mut out, "ksync_append_seconds", "From a push's arrival until it is durable.");
        head(&mut out, "ksync_refused_total", "Requests that were refused, by code.", "counter");
        for (code, times) in self.refusals_by_code() {
            line(&mut out, &format!("ksync_refused_total{{code=\"{code}\"}}"), times);
        }
        head(&mut out, "ksync_wakes_total", "Pushes to wake a device, by what became of them.", "counter");
        for (outcome, counted) in WAKES.iter().zip(&self.wakes) {
            line(&mut out, &format!("ksync_wakes_total{{outcome=\"{outcome}\"}}"), counted.value());
        }
        head(&mut out, "ksync_http_requests_total", "HTTP requests, by route and status.", "counter");
        for (route, counted) in ROUTES.iter().zip(&self.http) {
            for (status, counter) in STATUSES.iter().zip(counted).filter(|(_, counter)| counter.value() > 0) {
                let name = format!("ksync_http_requests_total{{route=\"{route}\",status=\"{status}\"}}");
                line(&mut out, &name, counter.value());
            }
        }
        head(&mut out, "ksync_build_info", "The relay's version.", "gauge");
        line(&mut out, &format!("ksync_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
        if let Some(process) = process::read() {
            let memory = "process_resident_memory_bytes";
            head(&mut out, memory, "Memory that is resident.", "gauge");
            line(&mut out, memory, process.resident_bytes);
            let cpu = "process_cpu_seconds_total";
            head(&mut out, cpu, "Processor time, of the program and of the system for it.", "counter");
            line(&mut out, cpu, process.cpu_seconds);
            head(&mut out, "process_open_fds", "Open files and sockets.", "gauge");
            line(&mut out, "process_open_fds", process.open_files);
        }
        out
    }
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(out, "{name} {value}");
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_kind_of_value() {
        let metrics = Metrics::default();
        metrics.connections.add(3);
        metrics.connections.add(-1);
        metrics.accepted.add(7);
        metrics.refused(Code::Quota);
        metrics.answered("/ready", 503);
        metrics.answered("/../etc/passwd", 404);
        metrics.append.record(Duration::from_micros(900), 2);
        metrics.append.record(Duration::from_secs(60), 1);
        let text = metrics.text();
        for line in [
            "ksync_connections 2",
            "ksync_accepted_total 7",
            "ksync_refused_total{code=\"QUOTA\"} 1",
            "ksync_http_requests_total{route=\"ready\",status=\"5xx\"} 1",
            "ksync_http_requests_total{route=\"other\",status=\"4xx\"} 1",
            "ksync_append_seconds_bucket{le=\"0.0005\"} 0",
            "ksync_append_seconds_bucket{le=\"0.001\"} 2",
            "ksync_append_seconds_bucket{le=\"+Inf\"} 3",
            "ksync_append_seconds_count 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        assert_eq!(metrics.refusals(Code::Quota), 1);
        assert_eq!(metrics.append.count(), 3);
    }
}

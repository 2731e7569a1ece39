//! Requests that end: the clients, and what they take of an answer.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, RequestBuilder};
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls_platform_verifier::Verifier;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::guard::{AddressRefused, Guard};
use super::{Refusal, Sent, SettingsError};

/// What of an answer is read, in bytes.
const ANSWER: usize = 16 * 1024;
/// How long the body may take when the status is there already.
const BODY: Duration = Duration::from_secs(1);
/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(5);
/// How often it is tried whether a connection still is one while an answer is due. Without this, every push waits in
/// vain on a connection that a router has forgotten.
const PING: Duration = Duration::from_secs(3);
/// How long a connection to a host of a stranger's choosing is kept: names cost nothing, and each would hold a socket.
const IDLE: Duration = Duration::from_secs(10);
/// The longest that a service may ask to be left alone.
const RETRY: u64 = 3600;

/// Clients for each kind of trust.
pub(super) struct Clients {
    /// For endpoints of a stranger's choosing, by `https`.
    pub(super) guarded: Client,
    /// The same by `http`.
    pub(super) plain: Client,
    /// For addresses of the host's own choosing.
    pub(super) trusted: Client,
    /// The same for what speaks HTTP/2 alone, as APNs does.
    pub(super) http2: Client,
}

impl Clients {
    pub(super) fn new(
        guard: &Guard,
        roots: &[CertificateDer<'static>],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, SettingsError> {
        let failed = |e: rustls::Error| SettingsError::Tls(e.to_string());
        let verifier = Verifier::new_with_extra_roots(roots.iter().cloned(), provider.clone()).map_err(failed)?;
        let mut tls = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut http2 = tls.clone();
        http2.alpn_protocols.truncate(1);
        let stranger = |is_http| builder(tls.clone()).dns_resolver(guard.resolver(is_http)).pool_idle_timeout(IDLE);
        let built = |builder: ClientBuilder| builder.build().map_err(|e| SettingsError::Tls(e.to_string()));
        Ok(Self {
            guarded: built(stranger(false).https_only(true))?,
            plain: built(stranger(true).http1_only())?,
            trusted: built(builder(tls.clone()))?,
            http2: built(builder(http2).http2_prior_knowledge())?,
        })
    }
}

fn builder(tls: ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls)
        // Whoever answers could otherwise send a request on to where the guard does not look.
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING)
}

/// What a service answered.
pub(super) struct Reply {
    pub(super) status: u16,
    retry_after: Option<Duration>,
    /// As much of the body as was read. An access token may be in it.
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Reply {
    /// What every service means alike: a success, a wish to be asked later, or a status that has no other meaning.
    pub(super) fn sent(&self) -> Sent {
        match self.status {
            200..=299 => Sent::Accepted,
            429 | 500..=599 => Sent::Later(self.retry_after),
            status => Sent::Refused(Refusal::Status(status)),
        }
    }
}

/// Why there is no answer.
pub(super) enum Fault {
    /// The guard refused where a name leads.
    Address,
    /// Nobody answers in time.
    Network,
}

impl From<Fault> for Sent {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Address => Self::Refused(Refusal::Address),
            Fault::Network => Self::Later(None),
        }
    }
}

/// Sends a request and reads its answer until `deadline`. `now` is in seconds since the Unix epoch.
pub(super) async fn exchange(request: RequestBuilder, deadline: Instant, now: u64) -> Result<Reply, Fault> {
    let sent = timeout_at(deadline, request.send()).await.map_err(|_| Fault::Network)?;
    let mut response = sent.map_err(|e| if is_refused(&e) { Fault::Address } else { Fault::Network })?;
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = after.and_then(|value| retry_after(value, now));
    let mut body = Zeroizing::new(Vec::new());
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = ANSWER - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == ANSWER {
                break;
            }
        }
    };
    // The status counts whether or not its explanation ever ends.
    let _ = timeout_at(deadline.min(Instant::now() + BODY), reading).await;
    Ok(Reply { status: response.status().as_u16(), retry_after, body })
}

fn is_refused(error: &reqwest::Error) -> bool {
    let first = error as &(dyn std::error::Error + 'static);
    std::iter::successors(Some(first), |error| error.source()).any(|error| error.is::<AddressRefused>())
}

/// How long to wait by a `Retry-After` (RFC 9110 §10.2.3): seconds, or a date in any of the three forms of §5.6.7. An
/// hour at most.
pub(super) fn retry_after(value: &str, now: u64) -> Option<Duration> {
    let value = value.trim();
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = match is_number {
        // More digits than fit are long, too.
        true => value.parse().unwrap_or(u64::MAX),
        false => date(value, now)?.saturating_sub(now),
    };
    Some(Duration::from_secs(seconds.min(RETRY)))
}

/// Seconds since the Unix epoch. `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6
/// 08:49:37 1994` have the same parts in two orders.
fn date(text: &str, now: u64) -> Option<u64> {
    let parts: Vec<&str> = text.split([' ', ',', '-']).filter(|part| !part.is_empty()).collect();
    let (day, month, year, time) = match parts[..] {
        [_, day, month, year, time, "GMT"] => (day, month, year, time),
        [_, month, day, time, year] => (day, month, year, time),
        _ => return None,
    };
    let number = |text: &str, most: u64| text.parse::<u64>().ok().filter(|number| *number <= most);
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let day = number(day, 31).filter(|day| *day > 0)?;
    let mut clock = time.split(':');
    let mut next = |most| number(clock.next()?, most);
    let (hour, minute, second) = (next(23)?, next(59)?, next(60)?);
    let year = match (year.len(), number(year, 9999)?) {
        (4, year) if year >= 1970 => year,
        // Two digits mean the year that is at most fifty ahead.
        (2, short) => {
            let this = 1970 + now / 31_556_952;
            let year = this - this % 100 + short;
            if year > this + 50 { year - 100 } else { year }
        }
        _ => return None,
    };
    // A year begins in March, so that a leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // From March of the year 0 to the epoch there are 719,468 days.
    Some(days.checked_sub(719_468)? * 86_400 + hour * 3600 + minute * 60 + second)
}

//! One attempt at one push.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use tokio::time::Instant;

use super::apns::Apns;
use super::fcm::Fcm;
use super::guard::Guard;
use super::http::Clients;
use super::vapid::Tokens;
use super::{Clock, Lookup, Settings, SettingsError, SystemLookup, Target, Vapid, web};

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The push service has taken it.
    Accepted,
    /// The target will not come back: the app is gone, or has another target by now.
    Gone,
    /// It may go well later, after this time if the service said one (an hour at most).
    Later(Option<Duration>),
    /// It would be refused again.
    Refused(Refusal),
}

/// Why a push is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum Refusal {
    /// The target is none: no URL, user information in it, too long, or keys that are no keys. The device is at fault.
    #[error("the target is malformed")]
    Malformed,
    /// The endpoint leads where pushes may not go: a private network that the host does not allow, or plain `http`. The
    /// device is at fault, or the host's `allow` is too narrow.
    #[error("the endpoint leads where pushes may not go")]
    Address,
    /// The host has no key for the app or project.
    #[error("there is no key for this app")]
    NoCredentials,
    /// The push service does not take the host's key.
    #[error("the push service does not take our key")]
    Credentials,
    /// The push service answered so, and it means nothing else here.
    #[error("the push service answered {0}")]
    Status(u16),
}

/// What a [`Sender`] takes from the program around it.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// What the time is.
    pub(crate) clock: Clock,
    /// The cryptography of TLS.
    pub(crate) provider: Arc<CryptoProvider>,
    /// How web push endpoints' names are looked up.
    pub(crate) lookup: Arc<dyn Lookup>,
    /// How long one attempt may take in all.
    pub(crate) limit: Duration,
}

impl Surroundings {
    /// The system's name servers, and ten seconds for an attempt.
    pub(crate) fn new(clock: Clock, provider: Arc<CryptoProvider>) -> Self {
        Self { clock, provider, lookup: Arc::new(SystemLookup::default()), limit: Duration::from_secs(10) }
    }
}

/// Sends pushes. It keeps connections and tokens, so a program has one.
pub(crate) struct Sender {
    clients: Clients,
    guard: Guard,
    web: Tokens,
    apns: Apns,
    fcm: Fcm,
    clock: Clock,
    limit: Duration,
}

impl Sender {
    /// Makes the clients.
    ///
    /// # Errors
    /// [`SettingsError::Tls`] if the system has no root certificates, or `roots` are none.
    pub(crate) fn new(settings: Settings, vapid: Vapid, around: Surroundings) -> Result<Self, SettingsError> {
        let guard = Guard::new(&settings.allow, around.lookup);
        Ok(Self {
            clients: Clients::new(&guard, &settings.roots, &around.provider)?,
            guard,
            web: Tokens::new(vapid, settings.subject),
            apns: Apns::new(settings.apps),
            fcm: Fcm::new(settings.accounts),
            clock: around.clock,
            limit: around.limit,
        })
    }

    /// The key that devices bind their web push subscriptions to: an uncompressed point on P-256.
    pub(crate) fn vapid_key(&self) -> [u8; 65] {
        self.web.public_key()
    }

    /// Whether a push could be sent, as far as that shows without asking anyone: names are not looked up.
    ///
    /// # Errors
    /// What [`Self::send`] would refuse it with.
    pub(crate) fn check(&self, target: &Target) -> Result<(), Refusal> {
        match target {
            Target::WebPush { endpoint, .. } => self.guard.check(endpoint).map(drop),
            Target::Apns { topic, token, .. } => self.apns.served(topic, token).map(drop),
            Target::Fcm { project, token } => self.fcm.served(project, token).map(drop),
        }
    }

    /// Makes one attempt, which ends within [`Surroundings::limit`]. A service that no longer takes a token of ours is
    /// asked a second time with a new one.
    pub(crate) async fn send(&self, target: &Target) -> Sent {
        let (deadline, now) = (Instant::now() + self.limit, (self.clock)() / 1000);
        match target {
            Target::WebPush { endpoint, keys } => match self.guard.check(endpoint) {
                Ok(url) => web::send(&self.clients, &self.web, url, keys.as_ref(), deadline, now).await,
                Err(refusal) => Sent::Refused(refusal),
            },
            Target::Apns { topic, token, sandbox } => {
                self.apns.send(&self.clients.http2, topic, token, *sandbox, deadline, now).await
            }
            Target::Fcm { project, token } => self.fcm.send(&self.clients.trusted, project, token, deadline, now).await,
        }
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

//! Apple's push service: "Sending notification requests to APNs" and "Establishing a token-based connection to APNs" in
//! Apple's documentation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::error::Unspecified;
use data_encoding::HEXLOWER;
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::http::{Reply, exchange};
use super::jwt::{Es256, Minted};
use super::settings::App;
use super::{Refusal, Sent};

/// How long a token is used, in seconds. Apple wants it to be between 20 and 60 minutes.
const USE: u64 = 50 * 60;
/// How old a refused token has to be, in seconds: Apple refuses whoever makes them more often.
const OLD: u64 = 20 * 60;
/// How long a push is kept for a device that is off, in seconds.
const KEPT: u64 = 86_400;
/// The longest device token, in bytes. Apple promises no length; it has been 32 so far.
const TOKEN: usize = 256;
/// A push that nobody sees and that wakes the app.
const BODY: &str = r#"{"aps":{"content-available":1}}"#;

/// The apps that may be woken.
pub(super) struct Apns {
    apps: HashMap<String, Served>,
}

/// An app's key, and another address of the service.
pub(super) struct Served {
    provider: Arc<Provider>,
    url: Option<String>,
}

/// A key and its token. Apps of one team share it: Apple counts how often it is made.
struct Provider {
    key: Es256,
    key_id: String,
    team_id: String,
    token: Mutex<Option<Minted>>,
}

#[derive(Deserialize)]
struct Reason {
    reason: String,
}

impl Apns {
    pub(super) fn new(apps: Vec<App>) -> Self {
        let mut providers: HashMap<(String, String), Arc<Provider>> = HashMap::new();
        let served = |app: App| {
            let provider = providers.entry((app.team_id.clone(), app.key_id.clone())).or_insert_with(|| {
                Arc::new(Provider { key: app.key, key_id: app.key_id, team_id: app.team_id, token: Mutex::default() })
            });
            (app.topic, Served { provider: provider.clone(), url: app.url })
        };
        Self { apps: apps.into_iter().map(served).collect() }
    }

    /// The app that a target belongs to.
    pub(super) fn served(&self, topic: &str, token: &[u8]) -> Result<&Served, Refusal> {
        if token.is_empty() || token.len() > TOKEN {
            return Err(Refusal::Malformed);
        }
        self.apps.get(topic).ok_or(Refusal::NoCredentials)
    }

    pub(super) async fn send(
        &self,
        client: &Client,
        topic: &str,
        token: &[u8],
        sandbox: bool,
        deadline: Instant,
        now: u64,
    ) -> Sent {
        let Served { provider, url } = match self.served(topic, token) {
            Ok(served) => served,
            Err(refusal) => return Sent::Refused(refusal),
        };
        let service = service(url.as_deref(), sandbox);
        let Ok(mut bearer) = provider.token(now) else { return Sent::Refused(Refusal::Credentials) };
        let mut is_last = false;
        loop {
            let request = client
                .post(format!("{service}/3/device/{}", HEXLOWER.encode(token)))
                .header(AUTHORIZATION, bearer.value.clone())
                .header(CONTENT_TYPE, "application/json")
                .header("apns-topic", topic)
                .header("apns-push-type", "background")
                .header("apns-priority", "5")
                .header("apns-expiration", now + KEPT)
                .header("apns-collapse-id", "0ksync")
                .body(BODY);
            let reply = match exchange(request, deadline, now).await {
                Ok(reply) => reply,
                Err(fault) => return fault.into(),
            };
            return match (reply.status, reason(&reply).as_str()) {
                (410, _) | (400, "BadDeviceToken" | "DeviceTokenNotForTopic") => Sent::Gone,
                (403, "ExpiredProviderToken" | "InvalidProviderToken") if !is_last => {
                    match provider.instead(&bearer, now) {
                        Some(other) => {
                            (bearer, is_last) = (other, true);
                            continue;
                        }
                        None => Sent::Refused(Refusal::Credentials),
                    }
                }
                (403, _) => Sent::Refused(Refusal::Credentials),
                _ => reply.sent(),
            };
        }
    }
}

/// Where an app's pushes are sent.
pub(super) fn service(url: Option<&str>, sandbox: bool) -> &str {
    match (url, sandbox) {
        (Some(url), _) => url,
        (None, false) => "https://api.push.apple.com",
        (None, true) => "https://api.sandbox.push.apple.com",
    }
}

fn reason(reply: &Reply) -> String {
    serde_json::from_slice::<Reason>(&reply.body).map(|answer| answer.reason).unwrap_or_default()
}

impl Provider {
    fn token(&self, now: u64) -> Result<Minted, Unspecified> {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        match &*token {
            Some(known) if known.is_younger(USE, now) => Ok(known.clone()),
            _ => Ok(token.insert(self.make(now)?).clone()),
        }
    }

    /// Another token in place of a refused one; `None` if there is to be no other yet.
    fn instead(&self, refused: &Minted, now: u64) -> Option<Minted> {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        match &*token {
            Some(known) if known.value != refused.value => Some(known.clone()),
            _ if refused.is_younger(OLD, now) => None,
            _ => Some(token.insert(self.make(now).ok()?).clone()),
        }
    }

    fn make(&self, now: u64) -> Result<Minted, Unspecified> {
        let header = json!({ "alg": "ES256", "kid": self.key_id });
        let token = self.key.token(&header, &json!({ "iss": self.team_id, "iat": now }))?;
        Minted::new(&format!("bearer {token}"), now)
    }
}

//! Google's push service: "FCM HTTP v1 API" in Firebase's documentation, with access tokens by RFC 7523.

use std::collections::HashMap;

use reqwest::Client;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::http::{Reply, exchange};
use super::jwt::{Rs256, secret};
use super::settings::Account;
use super::{Refusal, Sent};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// RFC 7523 §2.1, with its colons escaped.
const GRANT: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
/// How long an assertion is good, in seconds. Google takes an hour at most.
const ASSERTION: u64 = 3600;
/// How long before its end an access token is no longer used, in seconds.
const BEFORE: u64 = 5 * 60;
/// How long a failed attempt at an access token stands for the next ones, and how far apart tokens are asked for
/// because one was refused, in seconds.
const REST: (u64, u64) = (5, 60);
/// The longest registration token, in bytes.
const TOKEN: usize = 4096;

/// The projects whose apps may be woken.
pub(super) struct Fcm {
    projects: HashMap<String, Project>,
}

/// A service account and its access token.
pub(super) struct Project {
    email: String,
    key: Rs256,
    token_uri: String,
    url: String,
    /// Held while a token is asked for, so that one is asked for at a time.
    access: Mutex<Access>,
}

#[derive(Default)]
struct Access {
    /// The header with the token, and until when it is used.
    token: Option<(HeaderValue, u64)>,
    failed: Option<(Sent, u64)>,
    replaced: Option<u64>,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(deserialize_with = "secret")]
    access_token: Zeroizing<String>,
    expires_in: u64,
}

impl Fcm {
    pub(super) fn new(accounts: Vec<Account>) -> Self {
        let project = |account: Account| {
            let base = account.url.as_deref().unwrap_or("https://fcm.googleapis.com");
            let url = format!("{base}/v1/projects/{}/messages:send", account.project);
            let Account { project, email, key, token_uri, .. } = account;
            (project, Project { email, key, token_uri, url, access: Mutex::default() })
        };
        Self { projects: accounts.into_iter().map(project).collect() }
    }

    /// The project that a target belongs to.
    pub(super) fn served(&self, project: &str, token: &str) -> Result<&Project, Refusal> {
        if token.is_empty() || token.len() > TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refusal::Malformed);
        }
        self.projects.get(project).ok_or(Refusal::NoCredentials)
    }

    pub(super) async fn send(&self, client: &Client, project: &str, token: &str, deadline: Instant, now: u64) -> Sent {
        let project = match self.served(project, token) {
            Ok(project) => project,
            Err(refusal) => return Sent::Refused(refusal),
        };
        let message = json!({ "message": {
            "token": token,
            "data": { "ksync": "wake" },
            "android": { "priority": "high", "collapse_key": "0ksync", "ttl": "86400s" },
        }});
        let mut refused = None;
        loop {
            let bearer = match project.access(client, refused.as_ref(), deadline, now).await {
                Ok(bearer) => bearer,
                Err(sent) => return sent,
            };
            let request = client
                .post(&project.url)
                .header(AUTHORIZATION, bearer.clone())
                .header(CONTENT_TYPE, "application/json")
                .body(message.to_string());
            let reply = match exchange(request, deadline, now).await {
                Ok(reply) => reply,
                Err(fault) => return fault.into(),
            };
            if reply.status == 401 && refused.is_none() {
                refused = Some(bearer);
                continue;
            }
            return judged(&reply);
        }
    }
}

/// What an answer says ("ErrorCode" in the documentation of the API, and google.rpc.BadRequest).
fn judged(reply: &Reply) -> Sent {
    let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let details = answer["error"]["details"].as_array().map_or(&[][..], Vec::as_slice);
    let code = details.iter().find_map(|detail| detail["errorCode"].as_str()).unwrap_or_default();
    let mut wrong = details.iter().filter_map(|detail| detail["fieldViolations"].as_array()).flatten();
    match (reply.status, code) {
        (404, "UNREGISTERED") | (403, "SENDER_ID_MISMATCH") => Sent::Gone,
        // All but the token is the same in every message, so it is at fault unless something else is said to be.
        (400, "INVALID_ARGUMENT") if wrong.all(|field| field["field"] == "message.token") => Sent::Gone,
        (401 | 403, _) => Sent::Refused(Refusal::Credentials),
        _ => reply.sent(),
    }
}

impl Project {
    /// The header with an access token, another one than `refused`.
    async fn access(
        &self,
        client: &Client,
        refused: Option<&HeaderValue>,
        deadline: Instant,
        now: u64,
    ) -> Result<HeaderValue, Sent> {
        let mut access = timeout_at(deadline, self.access.lock()).await.map_err(|_| Sent::Later(None))?;
        if let Some((token, until)) = &access.token
            && Some(token) != refused
            && now < *until
        {
            return Ok(token.clone());
        }
        let (failed_lately, replaced_lately) = REST;
        if let Some((sent, _)) = access.failed.filter(|(_, at)| at.abs_diff(now) < failed_lately) {
            return Err(sent);
        }
        if refused.is_some() {
            // A new token is refused as well if the account may not send.
            if access.replaced.is_some_and(|at| at.abs_diff(now) < replaced_lately) {
                return Err(Sent::Refused(Refusal::Credentials));
            }
            access.replaced = Some(now);
        }
        match self.ask(client, deadline, now).await {
            Ok((token, until)) => {
                access.failed = None;
                access.token = Some((token.clone(), until));
                Ok(token)
            }
            Err(sent) => {
                access.failed = Some((sent, now));
                Err(sent)
            }
        }
    }

    async fn ask(&self, client: &Client, deadline: Instant, now: u64) -> Result<(HeaderValue, u64), Sent> {
        let refused = Sent::Refused(Refusal::Credentials);
        let claims = json!({
            "iss": self.email, "scope": SCOPE, "aud": self.token_uri, "iat": now, "exp": now + ASSERTION,
        });
        let assertion = self.key.token(&json!({ "alg": "RS256", "typ": "JWT" }), &claims).map_err(|_| refused)?;
        let request = client
            .post(&self.token_uri)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(format!("grant_type={GRANT}&assertion={assertion}"));
        let reply = exchange(request, deadline, now).await?;
        match reply.sent() {
            Sent::Accepted => {}
            later @ Sent::Later(_) => return Err(later),
            Sent::Gone | Sent::Refused(_) => return Err(refused),
        }
        let granted: Granted = serde_json::from_slice(&reply.body).map_err(|_| Sent::Later(None))?;
        let text = Zeroizing::new(format!("Bearer {}", *granted.access_token));
        let mut token = HeaderValue::from_str(&text).map_err(|_| Sent::Later(None))?;
        token.set_sensitive(true);
        Ok((token, now.saturating_add(granted.expires_in.saturating_sub(BEFORE))))
    }
}

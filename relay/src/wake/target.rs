//! Where a device's wake-up pushes go.

use std::fmt;

use sync_types::wake::{Apns, Fcm, WebPush, WebPushKeys};
use sync_types::{Opaque, WakeTarget};

/// Where a device's wake-up pushes go. Whoever knows a target can wake its device, so `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A push resource of RFC 8030 §2, which is also what UnifiedPush distributors and ntfy give.
    WebPush {
        /// Its URL: at most 1,024 characters of printable ASCII.
        endpoint: String,
        /// What a message is encrypted to. Without them a push has no body.
        keys: Option<SubscriptionKeys>,
    },
    /// Apple's push service.
    Apns {
        /// The app's bundle identifier.
        topic: String,
        /// The device token, 1 to 256 bytes.
        token: Vec<u8>,
        /// Whether the app was signed for development.
        sandbox: bool,
    },
    /// Google's push service, by its HTTP v1 interface.
    Fcm {
        /// The Firebase project's identifier.
        project: String,
        /// The registration token: 1 to 4,096 characters of printable ASCII.
        token: String,
    },
}

/// What a subscription's messages are encrypted to (RFC 8291 §3).
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct SubscriptionKeys {
    /// A point on P-256, uncompressed.
    pub p256dh: [u8; 65],
    /// The authentication secret.
    pub(crate) auth: [u8; 16],
}

impl Target {
    /// What kind of service it is, for people to read.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::WebPush { .. } => "web push",
            Self::Apns { .. } => "APNs",
            Self::Fcm { .. } => "FCM",
        }
    }

    /// The host that a web push endpoint names, as it was written.
    fn written_host(&self) -> Option<&str> {
        let Self::WebPush { endpoint, .. } = self else { return None };
        let (_, rest) = endpoint.split_once("://")?;
        let authority = rest.split(['/', '\\', '?', '#']).next()?;
        // What stands before the last '@' may be a password.
        let place = authority.rsplit('@').next()?;
        let end = place.rfind(']').map_or_else(|| place.find(':'), |bracket| Some(bracket + 1));
        let host = &place[..end.unwrap_or(place.len())];
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        (!host.is_empty() && host.len() <= 253 && host.chars().all(is_plain)).then_some(host)
    }
}

/// What is no text becomes one that no service takes.
impl From<&WakeTarget> for Target {
    fn from(target: &WakeTarget) -> Self {
        let text = |bytes: &Opaque| String::from_utf8_lossy(bytes).into_owned();
        match target {
            WakeTarget::WebPush(WebPush { endpoint, keys }) => Self::WebPush {
                endpoint: text(endpoint),
                keys: keys.as_ref().map(|keys| SubscriptionKeys { p256dh: keys.p256dh, auth: keys.auth }),
            },
            WakeTarget::Apns(Apns { topic, token, sandbox }) => {
                Self::Apns { topic: text(topic), token: token.to_vec(), sandbox: *sandbox }
            }
            WakeTarget::Fcm(Fcm { project, token }) => Self::Fcm { project: text(project), token: text(token) },
        }
    }
}

impl From<&Target> for WakeTarget {
    fn from(target: &Target) -> Self {
        let bytes = |text: &str| Opaque(text.as_bytes().to_vec());
        match target {
            Target::WebPush { endpoint, keys } => Self::WebPush(WebPush {
                endpoint: bytes(endpoint),
                keys: keys.as_ref().map(|keys| WebPushKeys { p256dh: keys.p256dh, auth: keys.auth }),
            }),
            Target::Apns { topic, token, sandbox } => {
                Self::Apns(Apns { topic: bytes(topic), token: Opaque(token.clone()), sandbox: *sandbox })
            }
            Target::Fcm { project, token } => Self::Fcm(Fcm { project: bytes(project), token: bytes(token) }),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WebPush { .. } => write!(f, "WebPush({})", self.written_host().unwrap_or("?")),
            Self::Apns { .. } => f.write_str("Apns"),
            Self::Fcm { .. } => f.write_str("Fcm"),
        }
    }
}

impl fmt::Debug for SubscriptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubscriptionKeys")
    }
}

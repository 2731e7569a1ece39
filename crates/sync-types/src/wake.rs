//! Where a device that sleeps is woken: what the push service of its platform gave the app.
//!
//! Whoever has a target can wake the device, and nobody can do more with it: a wake-up is empty. So a target is told to the
//! group's relays and to nobody else, and stands in no log.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

pub use crate::Opaque;
use crate::limits;

/// Where a device is woken.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum WakeTarget {
    /// Web Push (RFC 8030), which UnifiedPush's distributors and ntfy speak too.
    WebPush(WebPush) = 1u8,
    /// Apple's push service.
    Apns(Apns) = 2u8,
    /// Google's, by its HTTP interface of version 1.
    Fcm(Fcm) = 3u8,
}

/// A subscription at a service that speaks Web Push.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct WebPush {
    /// Where to post to: an `https:` URL in printable ASCII, at most [`limits::WAKE_ENDPOINT_BYTES`].
    pub endpoint: Opaque,
    /// What messages are encrypted to (RFC 8291). Without them a wake-up has no body.
    pub keys: Option<WebPushKeys>,
}

/// The keys of a subscription (RFC 8291 §2).
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct WebPushKeys {
    /// `p256dh`: a point of P-256, uncompressed.
    pub p256dh: [u8; 65],
    /// `auth`.
    pub auth: [u8; 16],
}

/// An app on a device of Apple's.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Apns {
    /// The app's bundle id, at most [`limits::APP_ID_BYTES`].
    pub topic: Opaque,
    /// What the system gave the app, at most [`limits::WAKE_TOKEN_BYTES`].
    pub token: Opaque,
    /// Whether the app is a development build.
    pub sandbox: bool,
}

/// An app that is registered with Firebase Cloud Messaging.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Fcm {
    /// The Firebase project's id, at most [`limits::APP_ID_BYTES`].
    pub project: Opaque,
    /// The registration token, at most [`limits::WAKE_TOKEN_BYTES`].
    pub token: Opaque,
}

impl WakeTarget {
    /// Whether each field is within its limit and of the characters that it may have.
    ///
    /// # Errors
    /// What is wrong, as a sentence that quotes nothing of the target.
    pub fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::WebPush(push) => push.check(),
            Self::Apns(apns) => {
                check(&apns.topic, limits::APP_ID_BYTES, is_name).ok_or("a topic is an app's bundle id")?;
                check(&apns.token, limits::WAKE_TOKEN_BYTES, |_| true).ok_or("a device token has 1 to 4096 bytes")
            }
            Self::Fcm(fcm) => {
                check(&fcm.project, limits::APP_ID_BYTES, is_name).ok_or("a project is named by its id")?;
                check(&fcm.token, limits::WAKE_TOKEN_BYTES, |byte| byte.is_ascii_graphic())
                    .ok_or("a registration token has 1 to 4096 printable characters")
            }
        }
    }

    /// What kind of service it is of, for logs and for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::WebPush(_) => "web push",
            Self::Apns(_) => "apns",
            Self::Fcm(_) => "fcm",
        }
    }
}

impl WebPush {
    fn check(&self) -> Result<(), &'static str> {
        check(&self.endpoint, limits::WAKE_ENDPOINT_BYTES, |byte| byte.is_ascii_graphic())
            .filter(|()| self.endpoint.starts_with(b"https://") || self.endpoint.starts_with(b"http://"))
            .ok_or("an endpoint is a URL of at most 1024 printable characters")?;
        // That it is a point of the curve turns out when something is encrypted to it.
        let is_uncompressed = self.keys.as_ref().is_none_or(|keys| keys.p256dh[0] == 4);
        if is_uncompressed { Ok(()) } else { Err("p256dh is an uncompressed point of P-256") }
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':')
}

fn check(text: &[u8], most: usize, may: impl Fn(u8) -> bool) -> Option<()> {
    (!text.is_empty() && text.len() <= most && text.iter().copied().all(may)).then_some(())
}

macro_rules! redacted {
    ($($name:ident)*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

redacted!(WebPush WebPushKeys Apns Fcm);

#[cfg(test)]
mod tests {
    use super::*;

    fn web(endpoint: &str) -> WakeTarget {
        WakeTarget::WebPush(WebPush { endpoint: Opaque(endpoint.into()), keys: None })
    }

    #[test]
    fn targets_are_checked_and_tell_nothing_of_themselves() {
        let secret = web("https://push.example.org/s3cret");
        let of = |topic: &str, token: usize| {
            WakeTarget::Apns(Apns { topic: Opaque(topic.into()), token: Opaque(vec![7; token]), sandbox: false })
        };
        for good in [&secret, &of("org.example.app", 32), &web("http://10.0.0.2/up")] {
            assert_eq!(good.check(), Ok(()));
        }
        assert!(!format!("{secret:?}").contains("s3cret"));
        let long = format!("https://push.example.org/{}", "x".repeat(1_024));
        let keys = Some(WebPushKeys { p256dh: [2; 65], auth: [0; 16] });
        let compressed = WakeTarget::WebPush(WebPush { endpoint: Opaque(b"https://a/b".to_vec()), keys });
        for bad in [
            web(""),
            web("ftp://push.example.org"),
            web("https://a b"),
            web("https://a\r\nx: y"),
            web("https://ä"),
            web(&long),
            of("", 32),
            of("org/../app", 32),
            of("org.example.app", 0),
            of("org.example.app", 4_097),
            compressed,
            WakeTarget::Fcm(Fcm { project: Opaque(b"a/b".to_vec()), token: Opaque(b"t".to_vec()) }),
            WakeTarget::Fcm(Fcm { project: Opaque(b"a".to_vec()), token: Opaque(b"t\n".to_vec()) }),
        ] {
            assert!(bad.check().is_err(), "{}", bad.kind());
        }
    }
}

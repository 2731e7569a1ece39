//! Foreground, background and waking, as they cross to the webview.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use sync_client::wake::{Apns, Fcm, WebPush, WebPushKeys};
use sync_client::{Code, SyncError};

/// Where in its life the app is: connected; with no socket open; or connected until what waits is fetched.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) enum Mode {
    Foreground,
    Background,
    Waking,
}

impl From<sync_client::Mode> for Mode {
    fn from(mode: sync_client::Mode) -> Self {
        match mode {
            sync_client::Mode::Foreground => Self::Foreground,
            sync_client::Mode::Background => Self::Background,
            sync_client::Mode::Waking => Self::Waking,
        }
    }
}

/// What a wake-up brought.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Woken {
    /// Whether everything that waited at the relay is in the log.
    pub(crate) caught_up: bool,
    /// Whether blobs of others came into the log.
    pub(crate) arrived: bool,
}

impl From<sync_client::Woken> for Woken {
    fn from(woken: sync_client::Woken) -> Self {
        Self { caught_up: woken.caught_up, arrived: woken.arrived }
    }
}

/// How it stands with waking this device.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
pub(crate) struct WakeState {
    /// `waiting` until a relay was told of the target, then `registered` or `refused`.
    pub(crate) state: String,
    /// Why it was refused.
    pub(crate) code: Option<String>,
}

impl From<sync_client::WakeState> for WakeState {
    fn from(wake: sync_client::WakeState) -> Self {
        let code = match wake {
            sync_client::WakeState::Refused(code) => Some(code.as_str().to_owned()),
            _ => None,
        };
        Self { state: wake.as_str().to_owned(), code }
    }
}

/// Where this device is woken: what the push service of its platform gave the app. It is told to the group's relays alone.
#[derive(Clone, Deserialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum WakeTarget {
    /// A subscription at a service that speaks Web Push, UnifiedPush's and ntfy among them.
    WebPush {
        /// Where to post to.
        endpoint: String,
        /// What a `PushSubscription` has as `keys`, if the service wants encrypted messages.
        keys: Option<WakeKeys>,
    },
    /// An app on a device of Apple's.
    Apns {
        /// The device token in hexadecimal digits.
        token: String,
        /// The app's bundle id.
        topic: String,
        /// Whether the app is a development build.
        #[serde(default)]
        sandbox: bool,
    },
    /// An app that is registered with Firebase Cloud Messaging.
    Fcm {
        /// The registration token.
        token: String,
        /// The Firebase project's id.
        project: String,
    },
}

/// The keys of a Web Push subscription, in base64url.
#[derive(Clone, Deserialize)]
#[cfg_attr(feature = "specta", derive(specta::Type))]
#[serde(deny_unknown_fields)]
pub(crate) struct WakeKeys {
    /// A point of P-256.
    pub(crate) p256dh: String,
    /// 16 bytes.
    pub(crate) auth: String,
}

impl TryFrom<WakeTarget> for sync_client::WakeTarget {
    type Error = SyncError;

    fn try_from(target: WakeTarget) -> Result<Self, SyncError> {
        Ok(match target {
            WakeTarget::WebPush { endpoint, keys } => {
                let keys = keys.map(|keys| {
                    let (p256dh, auth) = (bytes(&keys.p256dh, "keys.p256dh")?, bytes(&keys.auth, "keys.auth")?);
                    Ok::<_, SyncError>(WebPushKeys { p256dh, auth })
                });
                Self::WebPush(WebPush { endpoint: endpoint.into_bytes().into(), keys: keys.transpose()? })
            }
            WakeTarget::Apns { token, topic, sandbox } => {
                let token = HEXLOWER_PERMISSIVE.decode(token.as_bytes()).map_err(|_| invalid("token"))?;
                Self::Apns(Apns { topic: topic.into_bytes().into(), token: token.into(), sandbox })
            }
            WakeTarget::Fcm { token, project } => {
                Self::Fcm(Fcm { project: project.into_bytes().into(), token: token.into_bytes().into() })
            }
        })
    }
}

fn bytes<const N: usize>(text: &str, field: &str) -> Result<[u8; N], SyncError> {
    let bytes = BASE64URL_NOPAD.decode(text.trim_end_matches('=').as_bytes()).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| invalid(field))
}

/// Names the field and quotes nothing: what stands there is worth a wake-up to whoever has it.
fn invalid(field: &str) -> SyncError {
    SyncError::new(Code::InvalidArgument, format!("'{field}' of the target is not what a push service gives"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<sync_client::WakeTarget, String> {
        let target: WakeTarget = serde_json::from_str(json).map_err(|e| e.to_string())?;
        target.try_into().map_err(|e: SyncError| e.to_string())
    }

    #[test]
    fn targets_are_read_and_slips_are_named() {
        let point = BASE64URL_NOPAD.encode(&[4; 65]);
        let web = |p256dh: &str, auth: &str| {
            read(&format!(
                r#"{{"type":"webPush","endpoint":"https://p/s3cret","keys":{{"p256dh":"{p256dh}","auth":"{auth}"}}}}"#
            ))
        };
        // As browsers write it, and with the padding that some libraries leave.
        for auth in ["AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAA=="] {
            assert!(matches!(web(&point, auth), Ok(sync_client::WakeTarget::WebPush(push)) if push.keys.is_some()));
        }
        assert!(web(&point, "AAAA").unwrap_err().contains("keys.auth"));
        let slip = web("AAAA", "AAAAAAAAAAAAAAAAAAAAAA").unwrap_err();
        assert!(slip.contains("keys.p256dh") && !slip.contains("s3cret"));
        assert!(read(r#"{"type":"apns","token":"0aFF","topic":"org.example.app"}"#).is_ok());
        assert!(read(r#"{"type":"apns","token":"zz","topic":"org.example.app"}"#).unwrap_err().contains("token"));
        assert!(read(r#"{"type":"fcm","token":"t","project":"p"}"#).is_ok());
        for unknown in [r#"{"type":"sms","to":"1"}"#, r#"{"type":"fcm","token":"t","project":"p","more":1}"#] {
            assert!(read(unknown).is_err(), "{unknown}");
        }
    }
}

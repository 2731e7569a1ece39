//! `wake` and `wake-target`: fetching what waits from within the background, and where a push tells of it.

use data_encoding::BASE64URL_NOPAD;
use sync_client::wake::{Apns, Fcm, WebPush, WebPushKeys};
use sync_client::{Code, SyncClient, WakeState, WakeTarget, limits};

use super::Context;
use crate::cli::{WakeTargetAction, WakeTargetOf};
use crate::event::Event;
use crate::input;
use crate::out::{Done, Failure};
use crate::words;

pub(super) async fn wake(context: &Context) -> Done {
    let config = context.config()?.in_background(true);
    context
        .with_config(config, async |client| {
            tokio::select! {
                woken = client.wake(context.timeout()) => {
                    let woken = woken?;
                    context.out.tell(&Event::from(woken), words::woken(woken))
                }
                () = context.stop.wait() => Err(Failure::Interrupted),
            }
        })
        .await
}

pub(super) async fn target(context: &Context, arguments: WakeTargetOf) -> Done {
    let action = match arguments.action.unwrap_or(WakeTargetAction::Show) {
        WakeTargetAction::Key => return key(context).await,
        WakeTargetAction::Show => None,
        action => Some(read(action).await?),
    };
    context
        .with(async |client| {
            if let Some(target) = action {
                client.set_wake_target(target).await?;
            }
            show(context, client).await
        })
        .await
}

async fn key(context: &Context) -> Done {
    context
        .with(async |client| {
            let key = tokio::select! {
                key = client.wake_key(context.timeout()) => key?,
                () = context.stop.wait() => return Err(Failure::Interrupted),
            };
            let key = BASE64URL_NOPAD.encode(&key);
            context.out.tell(&Event::WakeKey { key: &key }, &key)
        })
        .await
}

/// Waits until a relay has said whether it wakes this device, and tells that.
async fn show(context: &Context, client: &SyncClient) -> Done {
    let until = tokio::time::Instant::now() + context.timeout();
    if client.status().await?.wake.is_some() {
        context.refresh(client).await?;
    }
    let mut status = client.status().await?;
    // It answers right behind the attaching; what is asked here is how far it is, not the relay.
    while status.connected && status.wake == Some(WakeState::Waiting) && tokio::time::Instant::now() < until {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        status = client.status().await?;
    }
    context.out.tell(&Event::wake_target(status.wake), words::wake_target(status.wake))?;
    match status.wake {
        Some(WakeState::Refused(code)) => Err(Failure::new(code, "no relay of the group wakes this device")),
        _ => Ok(()),
    }
}

/// What the arguments say; `None`: nowhere.
async fn read(action: WakeTargetAction) -> Done<Option<WakeTarget>> {
    let text = async |text: String| -> Done<sync_client::wake::Opaque> {
        if text != "-" {
            return Ok(text.into_bytes().into());
        }
        let bytes = input::whole(input::open("-".as_ref())?, limits::BLOB_BYTES).await?;
        Ok(bytes.trim_ascii().to_vec().into())
    };
    let invalid = |message: &'static str| Failure::new(Code::InvalidArgument, message);
    Ok(Some(match action {
        WakeTargetAction::WebPush { url, p256dh, auth } => {
            let decode = |text: String| BASE64URL_NOPAD.decode(text.trim_end_matches('=').as_bytes()).ok();
            let keys = match p256dh.zip(auth) {
                None => None,
                Some((p256dh, auth)) => Some(WebPushKeys {
                    p256dh: decode(p256dh)
                        .and_then(|bytes| bytes.try_into().ok())
                        .ok_or_else(|| invalid("--p256dh is 65 bytes in base64url, as the browser gives it"))?,
                    auth: decode(auth)
                        .and_then(|bytes| bytes.try_into().ok())
                        .ok_or_else(|| invalid("--auth is 16 bytes in base64url, as the browser gives it"))?,
                }),
            };
            WakeTarget::WebPush(WebPush { endpoint: text(url).await?, keys })
        }
        WakeTargetAction::Apns { token, topic, sandbox } => {
            let token = data_encoding::HEXLOWER_PERMISSIVE
                .decode(&text(token).await?)
                .map_err(|_| invalid("a device token is written in hexadecimal digits"))?;
            WakeTarget::Apns(Apns { topic: topic.into_bytes().into(), token: token.into(), sandbox })
        }
        WakeTargetAction::Fcm { token, project } => {
            WakeTarget::Fcm(Fcm { project: project.into_bytes().into(), token: text(token).await? })
        }
        WakeTargetAction::Off | WakeTargetAction::Show | WakeTargetAction::Key => return Ok(None),
    }))
}

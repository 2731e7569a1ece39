//! Everyday use: push, subscribe, events, presence.

use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sync_client::{BlobId, Code, DEFAULT_CHANNEL, Receipt, SyncError, limits};
use tauri::ipc::{Channel, InvokeBody, InvokeResponseBody, Request};
use tauri::{Runtime, Webview};
use tokio::sync::broadcast::error::RecvError;

use super::{App, Done};
use crate::registry::Task;
use crate::subscription_types::{SubscribeOptions, SubscriptionInfo};
use crate::subscriptions;
use crate::types::{ReceiptInfo, ReceiptState, SnapshotInfo, SyncEvent, count};

/// The header with the channel, percent-encoded: headers are ASCII, and channels are not.
const CHANNEL: &str = "ksync-channel";

/// The header with a position, as a decimal number.
const UP_TO: &str = "ksync-up-to";

/// Puts the request's body into the outbox. Resolves once it is durable on this device.
#[tauri::command]
pub(crate) async fn push(app: App<'_>, request: Request<'_>) -> Done<ReceiptInfo> {
    let (channel, blob) = (channel(&request)?, bytes(&request, limits::LARGE_BLOB_BYTES)?);
    Ok(app.client().await?.push_to(&channel, blob).await?.into())
}

/// Puts the request's body in the place of what the log holds of the channel up to a position: one that the header names, or
/// else the one that this window's own consumer is at.
#[tauri::command]
pub(crate) async fn snapshot<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    request: Request<'_>,
) -> Done<SnapshotInfo> {
    let (channel, blob) = (channel(&request)?, bytes(&request, limits::LARGE_BLOB_BYTES)?);
    let client = app.client().await?;
    let up_to = match request.headers().get(UP_TO) {
        Some(value) => parse::<u64>(value.to_str().unwrap_or_default(), "position")?,
        None => client.position(&subscriptions::own_consumer(webview.label()), &channel).await?,
    };
    Ok(client.snapshot(&channel, blob, up_to).await?.into())
}

/// Tells the devices that are connected now the request's body, which is never stored.
#[tauri::command]
pub(crate) async fn presence(app: App<'_>, request: Request<'_>) -> Done {
    let (channel, data) = (channel(&request)?, bytes(&request, limits::PRESENCE_BYTES)?);
    Ok(app.client().await?.presence_set(&channel, data).await?)
}

/// Waits until a pushed blob is in this state or further.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn wait(app: App<'_>, id: String, state: ReceiptState, timeout_ms: u32) -> Done {
    let id = parse::<BlobId>(&id, "blob")?;
    // Which blob is waited for is said by its id alone.
    let receipt = Receipt { id, position: 0 };
    let timeout = Duration::from_millis(timeout_ms.into());
    Ok(app.client().await?.wait(&receipt, state.into(), timeout).await?)
}

/// Waits no more for a large blob whose bytes do not come.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn skip(app: App<'_>, id: String) -> Done {
    let id = parse::<BlobId>(&id, "blob")?;
    Ok(app.client().await?.skip(id).await?)
}

/// Hands out blobs, a batch at a time, until the page is gone or `unsubscribe` is called.
#[tauri::command]
pub(crate) async fn subscribe<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    options: SubscribeOptions,
    blobs: Channel<InvokeResponseBody>,
) -> Done<SubscriptionInfo> {
    let page = app.pages.calling(&webview);
    Ok(subscriptions::begin(&app, &page, options, blobs).await?)
}

/// Everything of this batch up to this position was taken.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn ack<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    subscription: u32,
    batch: u32,
    position: String,
) -> Done {
    let position = parse::<u64>(&position, "position")?;
    Ok(subscriptions::taken(&app, webview.label(), subscription, batch, position).await?)
}

/// A handler did not take a blob. Every listener is told.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn handler_failed<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    subscription: u32,
    id: String,
    attempts: u32,
    retry_after_ms: u32,
) -> Done {
    let id = parse::<BlobId>(&id, "blob")?.to_string();
    Ok(subscriptions::failed(&app, webview.label(), subscription, id, attempts, retry_after_ms)?)
}

/// Ends a subscription. One that has ended is as good.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn unsubscribe<R: Runtime>(webview: Webview<R>, app: App<'_>, subscription: u32) -> Done {
    app.subscriptions.remove(webview.label(), subscription);
    Ok(())
}

/// Tells what happens, until the page is gone or `unlisten` is called.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn listen<R: Runtime>(webview: Webview<R>, app: App<'_>, events: Channel<SyncEvent>) -> Done<u32> {
    let (page, mut receiver) = (app.pages.calling(&webview), app.events());
    let work = async move {
        loop {
            let event = match receiver.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(missed)) => SyncEvent::Lagged { missed: count(missed) },
                Err(RecvError::Closed) => return,
            };
            if events.send(event).is_err() {
                return;
            }
        }
    };
    let kept = app.pages.still(&page, || app.listeners.insert(page.webview(), |_| Ok(()), |_| Task::spawn(work)))?;
    Ok(kept?)
}

/// Ends what `listen` began. One that has ended is as good.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn unlisten<R: Runtime>(webview: Webview<R>, app: App<'_>, listener: u32) -> Done {
    app.listeners.remove(webview.label(), listener);
    Ok(())
}

fn channel(request: &Request<'_>) -> Result<String, SyncError> {
    Ok(decoded(request, CHANNEL, "the channel's name")?.unwrap_or_else(|| DEFAULT_CHANNEL.to_owned()))
}

/// What a header says, percent-encoded; `what` names it.
pub(super) fn decoded(request: &Request<'_>, header: &str, what: &str) -> Result<Option<String>, SyncError> {
    let Some(value) = request.headers().get(header) else { return Ok(None) };
    let invalid = || SyncError::new(Code::InvalidArgument, format!("{what} is not percent-encoded UTF-8"));
    let text = value.to_str().map_err(|_| invalid())?;
    percent_decode_str(text).decode_utf8().map(|text| Some(text.into_owned())).map_err(|_| invalid())
}

/// The bytes of a request: raw, or an array of numbers where the platform has no raw bodies (Android) or a page's security
/// policy forbids them.
pub(super) fn bytes(request: &Request<'_>, limit: usize) -> Result<Vec<u8>, SyncError> {
    let large =
        |length: usize| SyncError::new(Code::TooLarge, format!("these are {length} bytes, and at most {limit} fit"));
    let bytes = match request.body() {
        InvokeBody::Raw(bytes) if bytes.len() > limit => return Err(large(bytes.len())),
        InvokeBody::Raw(bytes) => bytes.clone(),
        InvokeBody::Json(serde_json::Value::Array(numbers)) if numbers.len() > limit => {
            return Err(large(numbers.len()));
        }
        InvokeBody::Json(serde_json::Value::Array(numbers)) => {
            let byte = |number: &serde_json::Value| number.as_u64().and_then(|n| u8::try_from(n).ok());
            let bytes: Option<Vec<u8>> = numbers.iter().map(byte).collect();
            bytes.ok_or_else(|| SyncError::new(Code::InvalidArgument, "the body is no array of bytes"))?
        }
        InvokeBody::Json(_) => return Err(SyncError::new(Code::InvalidArgument, "the body holds no bytes")),
    };
    Ok(bytes)
}

pub(super) fn parse<T: FromStr>(text: &str, what: &str) -> Result<T, SyncError> {
    text.parse().map_err(|_| SyncError::new(Code::InvalidArgument, format!("this is no {what}: {text:?}")))
}

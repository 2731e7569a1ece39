//! Files: bytes of a page, and paths as far as a scope or a person allows them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sync_client::{BlobId, Code, Files, SyncError};
use tauri::ipc::{Channel, Request, Response};
use tauri::{Manager, Runtime, Webview};

use super::data::{bytes, decoded, parse};
use super::{App, Done};
use crate::file_calls::Meter;
use crate::file_paths::PathScope;
use crate::file_types::{FileInfo, FileProgress, FilesPolicy};
use crate::scratch::Scratch;
use crate::state::Ksync;

/// The header with a file's name, percent-encoded.
const NAME: &str = "ksync-file-name";

/// How large a file may be that a page has in its memory, in bytes.
const IN_MEMORY: usize = 64 << 20;

/// Gives a file of this machine to the group, if the window may read it. Durable when it resolves.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn file_put<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    scope: PathScope,
    call: u32,
    path: String,
    name: Option<String>,
    progress: Channel<FileProgress>,
) -> Done<FileInfo> {
    let (page, path) = (app.pages.calling(&webview), PathBuf::from(path));
    let real = scope.allowed(&webview, &path, &app.home()?, |real| app.given.has(webview.label(), real))?;
    // What the person sees, not what a link leads to.
    let name = name.or_else(|| path.file_name().map(|name| name.to_string_lossy().into_owned()));
    let work = async { put(&files(&app).await?, &real, name.as_deref(), Some(progress)).await };
    Ok(app.file_calls.run(&app.pages, &page, call, work).await?)
}

/// Gives the request's body to the group as a file of the name that a header has. Durable when it resolves.
#[tauri::command]
pub(crate) async fn file_put_bytes<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    request: Request<'_>,
) -> Done<FileInfo> {
    let name = decoded(&request, NAME, "the file's name")?;
    let name = name.ok_or_else(|| SyncError::new(Code::InvalidArgument, "the file has no name"))?;
    let scratch = Scratch::new(&cache(&webview)?)?;
    let room = app.room_for_bytes().await?;
    scratch.write(&bytes(&request, IN_MEMORY)?).await?;
    // On the disk, it is in nobody's way.
    drop(room);
    Ok(put(&files(&app).await?, &scratch.file(), Some(&name), None).await?)
}

/// Writes a file of the group to a path that the window may write, where nothing is yet; fetches it first, if need be.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
#[expect(clippy::too_many_arguments, reason = "three of them are Tauri's")]
pub(crate) async fn file_get<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    scope: PathScope,
    call: u32,
    id: String,
    path: String,
    patience_ms: u32,
    progress: Channel<FileProgress>,
) -> Done {
    let (page, id) = (app.pages.calling(&webview), parse::<BlobId>(&id, "file")?);
    let real = scope.allowed(&webview, Path::new(&path), &app.home()?, |_| false)?;
    let work = async { get(&files(&app).await?, id, &real, patience_ms, progress).await };
    Ok(app.file_calls.run(&app.pages, &page, call, work).await?)
}

/// The bytes of a file of at most 64 MiB; fetches it first, if need be.
#[tauri::command]
pub(crate) async fn file_read<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    call: u32,
    id: String,
    patience_ms: u32,
    progress: Channel<FileProgress>,
) -> Done<Response> {
    let (page, id) = (app.pages.calling(&webview), parse::<BlobId>(&id, "file")?);
    let cache = cache(&webview)?;
    let work = async {
        let files = files(&app).await?;
        let size = files.info(id).await?.size;
        if size > IN_MEMORY as u64 {
            let message =
                format!("this file has {size} bytes, and a page reads at most {IN_MEMORY}; write it to a path");
            return Err(SyncError::new(Code::TooLarge, message));
        }
        let scratch = Scratch::new(&cache)?;
        get(&files, id, &scratch.file(), patience_ms, progress).await?;
        // Not while it comes: that may take long, and takes no memory.
        let _room = app.room_for_bytes().await?;
        scratch.read().await
    };
    Ok(Response::new(app.file_calls.run(&app.pages, &page, call, work).await?))
}

/// Waits until a relay has a file that was put here, so that the others get it also when this device is off.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn file_wait_given<R: Runtime>(
    webview: Webview<R>,
    app: App<'_>,
    call: u32,
    id: String,
    patience_ms: u32,
    progress: Channel<FileProgress>,
) -> Done {
    let (page, id) = (app.pages.calling(&webview), parse::<BlobId>(&id, "file")?);
    let (meter, patience) = (Meter::new(progress), Duration::from_millis(patience_ms.into()));
    let work = async { files(&app).await?.wait_given(id, patience, |done, total| meter.show(done, total)).await };
    Ok(app.file_calls.run(&app.pages, &page, call, work).await?)
}

/// Gives up what this page began under that number. One that is over already is as good.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn file_cancel<R: Runtime>(webview: Webview<R>, app: App<'_>, call: u32) -> Done {
    app.file_calls.give_up(webview.label(), call);
    Ok(())
}

/// The group's files, in the order in which this device heard of them.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn file_list(app: App<'_>) -> Done<Vec<FileInfo>> {
    Ok(files(&app).await?.list().await?.into_iter().map(Into::into).collect())
}

/// Takes a file off the list, on every device.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn file_remove(app: App<'_>, id: String) -> Done {
    Ok(files(&app).await?.remove(parse::<BlobId>(&id, "file")?).await?)
}

/// Which files are carried by themselves, and how.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn file_policy(app: App<'_>) -> Done<FilesPolicy> {
    Ok(files(&app).await?.policy().into())
}

/// Changes which files are carried by themselves, and how, as long as the app runs. What is null stays as it is. Gives what holds then.
#[tauri::command]
#[cfg_attr(feature = "specta", specta::specta)]
pub(crate) async fn file_set_policy(
    app: App<'_>,
    automatic_up_to: Option<String>,
    paused: Option<bool>,
    direct: Option<bool>,
) -> Done<FilesPolicy> {
    let automatic_up_to = automatic_up_to.map(|text| parse::<u64>(&text, "size")).transpose()?;
    let files = files(&app).await?;
    let mut policy = files.policy();
    policy.automatic_up_to = automatic_up_to.unwrap_or(policy.automatic_up_to);
    policy.paused = paused.unwrap_or(policy.paused);
    policy.direct = direct.unwrap_or(policy.direct);
    files.set_policy(policy);
    // For a client that is opened again.
    app.keep_files_policy(policy);
    Ok(policy.into())
}

async fn files(app: &Arc<Ksync>) -> Result<Files, SyncError> {
    Ok(app.client().await?.files())
}

fn cache<R: Runtime>(webview: &Webview<R>) -> Result<PathBuf, SyncError> {
    let cache = webview.path().app_cache_dir();
    cache.map_err(|e| SyncError::new(Code::Io, format!("the system names no folder for a cache: {e}")))
}

async fn put(
    files: &Files,
    path: &Path,
    name: Option<&str>,
    progress: Option<Channel<FileProgress>>,
) -> Result<FileInfo, SyncError> {
    let meter = progress.map(|progress| Arc::new(Meter::new(progress)));
    let shown = meter.clone();
    let show = move |done, total| {
        if let Some(meter) = &shown {
            meter.show(done, total);
        }
    };
    let file = files.put(path, name, show).await?;
    if let Some(meter) = meter {
        meter.show(file.size, file.size);
    }
    Ok(file.into())
}

/// To where nothing is: a page that was taken over writes over nothing.
async fn get(
    files: &Files,
    id: BlobId,
    to: &Path,
    patience_ms: u32,
    progress: Channel<FileProgress>,
) -> Result<(), SyncError> {
    let meter = Meter::new(progress);
    let patience = Duration::from_millis(patience_ms.into());
    files.get_new(id, to, patience, move |done, total| meter.show(done, total)).await
}

//! `file`: files of any size, given to the other devices and fetched from them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sync_client::{BlobId, Code, FileInfo, SyncClient, safe_file_name};

use super::Context;
use crate::cli::FileAction;
use crate::event::Event;
use crate::out::{Done, Failure, Out, plain};
use crate::words;

/// How often progress is shown.
const SHOW: Duration = Duration::from_millis(100);

/// How much of the beginning of an id is taken for one.
const SHORTEST: usize = 4;

/// How many small files are put at once, so that the disk flushes several together; and what is small, in bytes.
const TOGETHER: usize = 8;
const SMALL: u64 = 1 << 20;
/// How many marks a whole bar has.
const BAR: usize = 20;

pub(super) async fn file(context: &Context, action: FileAction) -> Done {
    context
        .with(async |client| match action {
            FileAction::Put { paths, name, no_wait } => put(context, client, &paths, name.as_deref(), !no_wait).await,
            FileAction::Get { file, to, force } => get(context, client, &file, to, force).await,
            FileAction::List => list(context, client).await,
            FileAction::Remove { file } => remove(context, client, &file).await,
        })
        .await
}

async fn put(context: &Context, client: &SyncClient, paths: &[PathBuf], name: Option<&str>, wait: bool) -> Done {
    if name.is_some() && paths.len() > 1 {
        return Err(Failure::new(Code::InvalidArgument, "--name is for a single file"));
    }
    let (out, files) = (context.out, client.files());
    let mut put: Vec<FileInfo> = Vec::new();
    let mut stopped: Option<Failure> = None;
    for together in paths.chunk_by(|one, next| is_small(one) && is_small(next)).flat_map(|few| few.chunks(TOGETHER)) {
        let sealing = together.iter().map(|path| {
            let sealing = files.put(path, name, bar(out, "Sealing", &path.display().to_string()));
            or_stopped(context, sealing)
        });
        for sealed in join_all(sealing).await {
            match sealed {
                Ok(file) => put.push(file),
                Err(failure) => stopped = stopped.or(Some(failure)),
            }
        }
        if stopped.is_some() {
            break;
        }
    }
    // Of what is put, programs have to know the ids, however it ends.
    for file in put {
        if wait && stopped.is_none() {
            let giving = files.wait_given(file.id, context.timeout(), bar(out, "Giving", &file.name));
            if let Err(failure) = or_stopped(context, giving).await {
                stopped = Some(match failure {
                    Failure::Error(error) => context.why(client, error).await.into(),
                    other => other,
                });
            }
        }
        let file = files.info(file.id).await?;
        let end = if file.given { "" } else { "; it goes to the relay while this device is connected" };
        out.tell(&Event::from(&file), format_args!("{}{end}", words::file(&file)))?;
    }
    stopped.map_or(Ok(()), Err)
}

/// Whether putting it is mostly waiting for the disk.
fn is_small(path: &PathBuf) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.len() <= SMALL)
}

async fn get(context: &Context, client: &SyncClient, text: &str, to: Option<PathBuf>, force: bool) -> Done {
    let file = find(context, client, text).await?;
    let to = destination(&file, to);
    if !force && to.symlink_metadata().is_ok() {
        let message = format!("{} is there already: --force replaces it, --to names another path", to.display());
        return Err(Failure::new(Code::InvalidArgument, message));
    }
    let files = client.files();
    let fetching = files.get(file.id, &to, context.timeout(), bar(context.out, "Fetching", &file.name));
    match or_stopped(context, fetching).await {
        Ok(()) => {
            let path = to.display().to_string();
            let words = format!("{} is in {}.", words::size(file.size), plain(&path));
            context.out.tell(&Event::FileWritten { id: file.id.to_string(), path }, words)
        }
        Err(Failure::Error(error)) => Err(context.why(client, error).await.into()),
        Err(other) => Err(other),
    }
}

async fn list(context: &Context, client: &SyncClient) -> Done {
    context.refresh(client).await?;
    let files = client.files().list().await?;
    for file in &files {
        context.out.tell(&Event::from(file), words::file(file))?;
    }
    if files.is_empty() {
        context.out.say("There are no files in this group. `ksync file put PATH` gives one to it.")?;
    }
    Ok(())
}

async fn remove(context: &Context, client: &SyncClient, text: &str) -> Done {
    let file = find(context, client, text).await?;
    client.files().remove(file.id).await?;
    let words = format!("«{}» is removed.", plain(&file.name));
    context.out.tell(&Event::FileRemoved { id: file.id.to_string() }, words)
}

/// The file that is meant: among those that this device knows of, or else among those that wait at the relay too.
async fn find(context: &Context, client: &SyncClient, text: &str) -> Done<FileInfo> {
    if let Some(file) = named(client.files().list().await?, text)? {
        return Ok(file);
    }
    context.catch_up(client).await?;
    let message = || format!("no file has the name or the id {text}: see `ksync file list`");
    named(client.files().list().await?, text)?.ok_or_else(|| Failure::new(Code::InvalidArgument, message()))
}

/// The one file of this id, or else of this name, or else whose id begins so.
fn named(files: Vec<FileInfo>, text: &str) -> Done<Option<FileInfo>> {
    let id: Option<BlobId> = text.parse().ok();
    let begins =
        |file: &FileInfo| text.len() >= SHORTEST && file.id.to_string().starts_with(&text.to_ascii_lowercase());
    let is_it: [&dyn Fn(&FileInfo) -> bool; 3] = [&|file| Some(file.id) == id, &|file| file.name == text, &begins];
    for is_it in is_it {
        let fits: Vec<&FileInfo> = files.iter().filter(|file| is_it(file)).collect();
        match fits[..] {
            [] => {}
            [one] => return Ok(Some(one.clone())),
            _ => {
                let ids: Vec<String> = fits.iter().map(|file| file.id.to_string()).collect();
                let message = format!("several files are meant by that: {}", ids.join(", "));
                return Err(Failure::new(Code::InvalidArgument, message));
            }
        }
    }
    Ok(None)
}

/// Where a file is written to: a name that another device chose leads nowhere else.
fn destination(file: &FileInfo, to: Option<PathBuf>) -> PathBuf {
    match to {
        Some(folder) if folder.is_dir() => folder.join(safe_file_name(&file.name)),
        Some(path) => path,
        None => Path::new(".").join(safe_file_name(&file.name)),
    }
}

/// Shows how far it is.
fn bar(out: Out, what: &'static str, name: &str) -> impl Fn(u64, u64) + Send + Sync + use<> {
    let (name, shown) = (plain(name).replace('\n', " "), Mutex::new(None::<Instant>));
    move |done, total| {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.is_some_and(|at| at.elapsed() < SHOW) {
            return;
        }
        *shown = Some(Instant::now());
        let percent = words::percent(done, total);
        let marks = usize::try_from(percent).unwrap_or_default() * BAR / 100;
        let (full, rest) = ("#".repeat(marks), ".".repeat(BAR - marks));
        out.progress(format_args!("{what} {name} [{full}{rest}] {percent} % of {}", words::size(total)));
    }
}

/// Goes on until it is done, or somebody ends it.
async fn or_stopped<T>(context: &Context, work: impl Future<Output = Result<T, sync_client::SyncError>>) -> Done<T> {
    let done = tokio::select! {
        done = work => done.map_err(Failure::from),
        () = context.stop.wait() => Err(Failure::Interrupted),
    };
    context.out.progress_over();
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_client::{DeviceId, FileState};

    fn info(byte: u8, name: &str) -> FileInfo {
        FileInfo {
            id: BlobId([byte; 16]),
            name: name.into(),
            size: 1,
            device: DeviceId([1; 16]),
            position: 1,
            modified_ms: 0,
            state: FileState::Here,
            given: true,
        }
    }

    #[test]
    fn a_file_is_meant_by_its_id_its_name_or_the_beginning_of_its_id() {
        let files = vec![info(0xa1, "one"), info(0xa2, "two"), info(0xb1, "two"), info(0xb2, &"a1".repeat(16))];
        let find = |text: &str| named(files.clone(), text);
        let id = |text: &str| find(text).unwrap().map(|file| file.id.0[0]);
        assert_eq!((id("one"), id("A1a1"), id("b1b1b")), (Some(0xa1), Some(0xa1), Some(0xb1)));
        assert_eq!(id(&"a1".repeat(16)), Some(0xa1), "an id goes before a name");
        assert_eq!((id("a"), id("three"), id("")), (None, None, None));
        let Err(Failure::Error(error)) = find("two") else { panic!("two files have that name") };
        assert!(error.message.contains(&"a2".repeat(16)) && error.message.contains(&"b1".repeat(16)), "{error}");
    }

    #[test]
    fn a_name_of_another_device_leads_into_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = info(1, "../../x");
        assert_eq!(destination(&file, None), Path::new("./_.._x"));
        assert_eq!(destination(&file, Some(folder.path().to_owned())), folder.path().join("_.._x"));
        assert_eq!(destination(&file, Some("/a/b".into())), Path::new("/a/b"));
    }
}

//! A relay's whole state in one folder, taken while it runs, and the way back.
//!
//! The key is what matters most: devices pin it. A database that is older than what devices have seen is put right by them
//! (protocol.md §7, *A relay that has lost data*).

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sync_types::Code;

use crate::config::StoreConfig;
use crate::server::folder::{self, Lock};
use crate::store::sqlite::View;
use crate::tokens::edit;
use crate::{StartError, identity};

/// The token file's name in a backup, and in a folder that one is put back into.
const TOKENS: &str = "tokens";

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The database's size in bytes.
    pub bytes: u64,
    /// Whether the relay's key is there. Without it is a relay that takes its key from the environment.
    pub key: bool,
    /// Whether there is a file of access tokens.
    pub tokens: bool,
}

/// What was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The database.
    pub database: PathBuf,
    /// The file of access tokens, which `--access token:FILE` has to name.
    pub tokens: Option<PathBuf>,
}

/// Copies database, key and token file into `target`, which must not exist. It is there as a whole or not at all.
///
/// # Errors
/// `INVALID_ARGUMENT` if the target exists or the store is not SQLite; `IO`, `DISK_FULL`, `STORE_CORRUPT`.
pub async fn backup(
    data: &Path,
    store: &StoreConfig,
    tokens: Option<&Path>,
    target: &Path,
) -> Result<Backup, StartError> {
    let StoreConfig::Sqlite { path: database, .. } = store else {
        let message = "this copies a database that is a file. One of PostgreSQL's is copied by pg_dump or the server's own backups, \
                       while relays run; beside it keep the folder's relay.key and the file of access tokens";
        return Err(StartError::new(Code::InvalidArgument, message));
    };
    if target.symlink_metadata().is_ok() {
        let message = format!("{} exists already: name a folder that does not", target.display());
        return Err(StartError::new(Code::InvalidArgument, message));
    }
    let name = target.file_name().ok_or_else(|| StartError::new(Code::InvalidArgument, "a backup is a folder"))?;
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name);
    draft.push(format!(".{}", std::process::id()));
    let draft = parent.join(draft);
    make_folder(&draft).map_err(|e| StartError::io("make the folder", &draft, &e))?;
    let copied = copy(data, database, tokens, &draft).await.and_then(|copied| {
        let renamed = fs::rename(&draft, target).and_then(|()| flush(parent));
        renamed.map(|()| copied).map_err(|e| StartError::io("write", target, &e))
    });
    if copied.is_err() {
        // What is left is of no use, and only this call knows its name.
        let _ = fs::remove_dir_all(&draft);
    }
    copied
}

async fn copy(data: &Path, database: &Path, tokens: Option<&Path>, draft: &Path) -> Result<Backup, StartError> {
    let copy = draft.join(StoreConfig::FILE);
    // So that nobody reads it while it is written.
    create(&copy).map_err(|e| StartError::io("write", &copy, &e))?;
    let mut view = View::open_any(database).await?;
    let copied = view.copy_to(&copy).await;
    view.close().await;
    copied?;
    let file = File::open(&copy).and_then(|file| file.sync_all().and_then(|()| file.metadata()));
    let bytes = file.map_err(|e| StartError::io("write", &copy, &e))?.len();
    let key = copy_file(&data.join(identity::FILE), &draft.join(identity::FILE))?;
    let tokens = match tokens {
        Some(file) => copy_file(file, &draft.join(TOKENS))?,
        None => false,
    };
    flush(draft).map_err(|e| StartError::io("write", draft, &e))?;
    Ok(Backup { bytes, key, tokens })
}

/// Puts a backup into a data folder that is empty, after looking at all of it.
///
/// # Errors
/// `HOME_BUSY` if a relay runs there; `INVALID_ARGUMENT` if the folder is not empty; `STORE_CORRUPT` for a backup that is
/// damaged or has no whole key (which may be missing if `key_elsewhere`); `VERSION` for one of a newer relay; `IO`,
/// `DISK_FULL`. Then the folder is as empty as before.
pub async fn restore(source: &Path, data: &Path, key_elsewhere: bool) -> Result<Restored, StartError> {
    verify(source, key_elsewhere).await?;
    let existed = data.exists();
    let lock = Lock::take(data)?;
    if let Some(name) = in_the_way(data)? {
        let message = format!("{} is not empty: {name} lies there. Name an empty folder", data.display());
        return Err(StartError::new(Code::InvalidArgument, message));
    }
    let stage = data.join(folder::RESTORING);
    let names = [StoreConfig::FILE, TOKENS, identity::FILE];
    let put = || -> Result<Restored, StartError> {
        make_folder(&stage).map_err(|e| StartError::io("make the folder", &stage, &e))?;
        let mut there = Vec::new();
        for name in names {
            if copy_file(&source.join(name), &stage.join(name))? {
                there.push(name);
            }
        }
        // No relay starts here while the stage is there, so these are all there or none.
        let moved = || -> std::io::Result<()> {
            flush(&stage)?;
            for name in &there {
                fs::rename(stage.join(name), data.join(name))?;
            }
            flush(data)?;
            fs::remove_dir(&stage)?;
            flush(data)
        };
        moved().map_err(|e| StartError::io("write into", data, &e))?;
        let tokens = there.contains(&TOKENS).then(|| data.join(TOKENS));
        Ok(Restored { database: data.join(StoreConfig::FILE), tokens })
    };
    let restored = put();
    if restored.is_err() {
        for name in names {
            let _ = fs::remove_file(data.join(name));
        }
        let _ = fs::remove_dir_all(&stage);
        let _ = fs::remove_file(data.join(folder::FILE));
        if !existed {
            let _ = fs::remove_dir(data);
        }
    }
    drop(lock);
    restored
}

/// Whether a backup can be used as it is.
async fn verify(source: &Path, key_elsewhere: bool) -> Result<(), StartError> {
    let key = source.join(identity::FILE);
    match fs::metadata(&key) {
        Ok(file) if file.len() == identity::BYTES => {}
        Err(e) if e.kind() == ErrorKind::NotFound && key_elsewhere => {}
        Ok(_) => {
            let message = format!("{} is not a key of 32 bytes: use another backup", key.display());
            return Err(StartError::new(Code::StoreCorrupt, message));
        }
        Err(e) => return Err(StartError::io("read", &key, &e)),
    }
    let tokens = source.join(TOKENS);
    if tokens.exists() {
        edit::list(&tokens)?;
    }
    let mut view = View::open_copy(&source.join(StoreConfig::FILE)).await?;
    let checked = view.check().await;
    view.close().await;
    checked
}

/// What lies in the folder beside the lock.
fn in_the_way(data: &Path) -> Result<Option<String>, StartError> {
    let failed = |e: std::io::Error| StartError::io("read", data, &e);
    for entry in fs::read_dir(data).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        // A file system's own folder is in the way of nobody.
        if name != folder::FILE && name != "lost+found" {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// Copies a file, readable by its owner alone and durable; false if there is none.
fn copy_file(from: &Path, to: &Path) -> Result<bool, StartError> {
    let mut source = match File::open(from) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(StartError::io("read", from, &e)),
    };
    let copied = create(to).and_then(|mut file| {
        std::io::copy(&mut source, &mut file)?;
        file.sync_all()
    });
    copied.map(|()| true).map_err(|e| StartError::io("write", to, &e))
}

fn create(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes names in a folder durable. Folders cannot be opened as files on Windows, where renaming needs no such flush.
fn flush(_folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    File::open(_folder)?.sync_all()?;
    Ok(())
}

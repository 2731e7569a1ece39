//! A disk that forgets what was not synced: a process runs under `tests/shim/unsynced.c`, which records its writes, and
//! after its end the folder is put together again as a power cut would have left it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::hazard::Dice;

/// The shim, built once for each run of a test.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim/unsynced.c");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("unsynced-{}.so", std::process::id()));
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&target).arg(source).args(["-ldl", "-lpthread"]);
        assert!(cc.status().unwrap().success(), "the shim does not build");
        target
    })
}

/// One file as it grew.
#[derive(Clone, Default)]
struct Image {
    bytes: Vec<u8>,
}

impl Image {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(at, data) => {
                let end = at + data.len();
                self.bytes.resize(self.bytes.len().max(end), 0);
                self.bytes[*at..end].copy_from_slice(data);
            }
            Change::Truncate(to) => self.bytes.resize(*to, 0),
        }
    }
}

enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

/// A file of the disk: what is on it for sure, and what may or may not be.
#[derive(Default)]
struct Entry {
    synced: Image,
    unsynced: Vec<Change>,
}

/// A folder before a process runs in it, and where its writes are recorded.
pub(super) struct Disk {
    folder: PathBuf,
    log: PathBuf,
    before: BTreeMap<String, Entry>,
}

impl Disk {
    /// Notes what the folder holds now.
    pub(super) fn watch(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let folder = folder.canonicalize().unwrap();
        let entry = |path: PathBuf| {
            let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            (name, Entry { synced: Image { bytes: std::fs::read(&path).unwrap() }, unsynced: vec![] })
        };
        let before = files(&folder).into_iter().map(entry).collect();
        let log = folder.with_extension("writes");
        let _ = std::fs::remove_file(&log);
        Self { folder, log, before }
    }

    /// Makes the command run under the shim. A disk that lies says that it has synced, and has not.
    pub(super) fn under<'a>(&self, command: &'a mut Command, lies: bool) -> &'a mut Command {
        command.env("LD_PRELOAD", shim()).env("KSYNC_SHIM_DIR", &self.folder).env("KSYNC_SHIM_LOG", &self.log);
        if lies {
            command.env("KSYNC_SHIM_LIE", "1");
        }
        command
    }

    /// Puts the folder back as a power cut leaves it at the end of the log. Of what was not synced nothing is left, or, with
    /// dice, any part: a real disk may have written it or not, in any order. Gives how many changes were dropped.
    pub(super) fn cut_power(self, mut dice: Option<&mut Dice>) -> usize {
        let mut files = self.before;
        let log = std::fs::read(&self.log).unwrap_or_default();
        let mut rest = log.as_slice();
        while let Some((record, behind)) = Record::read(rest) {
            rest = behind;
            let Record { kind, name, offset, data } = record;
            match kind {
                b'W' => files.entry(name).or_default().unsynced.push(Change::Write(offset, data.to_vec())),
                b'T' => files.entry(name).or_default().unsynced.push(Change::Truncate(offset)),
                b'S' => {
                    let file = files.entry(name).or_default();
                    for change in file.unsynced.drain(..) {
                        file.synced.apply(&change);
                    }
                }
                b'U' => drop(files.remove(&name)),
                b'R' => {
                    let file = files.remove(&name).unwrap_or_default();
                    files.insert(std::str::from_utf8(data).unwrap().to_owned(), file);
                }
                other => panic!("the log holds a record of kind {other}"),
            }
        }
        std::fs::remove_dir_all(&self.folder).unwrap();
        std::fs::create_dir_all(&self.folder).unwrap();
        let mut dropped = 0;
        for (name, mut file) in files.into_iter().filter(|(name, _)| !name.ends_with("-shm")) {
            for change in &file.unsynced {
                if dice.as_mut().is_some_and(|dice| dice.below(2) == 0) {
                    file.synced.apply(change);
                } else {
                    dropped += 1;
                }
            }
            let path = self.folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file.synced.bytes).unwrap();
        }
        let _ = std::fs::remove_file(&self.log);
        dropped
    }
}

struct Record<'a> {
    kind: u8,
    name: String,
    offset: usize,
    data: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first record and what follows; `None` at the end, or where a kill cut a record short.
    fn read(log: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = log.split_at_checked(15)?;
        let name = usize::from(u16::from_le_bytes(head[1..3].try_into().unwrap()));
        let offset = u64::from_le_bytes(head[3..11].try_into().unwrap());
        let length = u32::from_le_bytes(head[11..15].try_into().unwrap());
        let (name, rest) = rest.split_at_checked(name)?;
        let (data, rest) = rest.split_at_checked(length.try_into().unwrap())?;
        let name = std::str::from_utf8(name).unwrap().to_owned();
        Some((Self { kind: head[0], name, offset: offset.try_into().unwrap(), data }, rest))
    }
}

/// Every file below a folder. A running relay's socket is none.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.is_file()).collect()
}

/// Whether a file below a folder holds these bytes.
pub(super) fn any_file_holds(folder: &Path, needle: &[u8]) -> bool {
    files(folder).iter().any(|file| std::fs::read(file).unwrap().windows(needle.len()).any(|part| part == needle))
}

/// Rows of a database that another process may have open.
pub(super) fn rows<T>(database: &Path, sql: &str, read: impl Fn(&SqliteRow) -> T) -> Vec<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(database).busy_timeout(std::time::Duration::from_secs(10));
        let mut connection = options.connect().await.unwrap();
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.iter().map(read).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another program stands in for ours: its first write is synced, its second is not.
    const WRITES: &str = "import os, sys; f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); \
                          os.write(f, b'one'); os.fsync(f); os.pwrite(f, b'two', 3)";

    fn written(lies: bool) -> (Option<Vec<u8>>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::watch(&folder.path().join("data"));
        let path = disk.folder.join("f");
        let mut python = Command::new("/usr/bin/python3");
        let output = crate::harness::run(disk.under(python.args(["-c", WRITES]).arg(&path), lies), b"");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(std::fs::read(&path).unwrap(), b"onetwo");
        let dropped = disk.cut_power(None);
        (std::fs::read(path).ok(), dropped)
    }

    #[test]
    fn what_was_synced_stays_and_the_rest_goes() {
        assert_eq!(written(false), (Some(b"one".to_vec()), 1));
        assert_eq!(written(true), (Some(vec![]), 2));
    }
}

//! A process that is killed while content comes: what it had verified it does not ask for again.

use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use sync_content::{ContentHash, ContentStore, FolderStore, Held, Progress, Sealed};
use tokio::net::TcpStream;

use crate::{Device, OPTIONS, bytes};

/// Names the folder that the process which is killed works in.
const FOLDER: &str = "KSYNC_CONTENT_KILLED_FOLDER";
/// What is verified at once, in bytes.
const GROUP: u64 = 16 << 10;
const SIZE: usize = 8 << 20;
/// How often it is killed.
const KILLS: u64 = 12;

/// Within the process that is killed: asks at a port for content, and notes how much has come.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let told = std::fs::read_to_string(folder.join("told")).unwrap();
    let mut told = told.split(' ');
    let (port, size): (u16, u64) = (told.next().unwrap().parse().unwrap(), told.next().unwrap().parse().unwrap());
    let hash = ContentHash::from_slice(&std::fs::read(folder.join("hash")).unwrap()).unwrap();
    let store = FolderStore::open(&folder.join("content"), OPTIONS).await.unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (from, to) = stream.into_split();
    let came = std::fs::File::create(folder.join("came")).unwrap();
    // Whatever becomes of this process, the system keeps what was written.
    let progress: Progress = Arc::new(move |bytes| came.write_all_at(&bytes.to_le_bytes(), 0).unwrap());
    store.take(Sealed { hash, size }, Box::new(from), Box::new(to), progress).await.unwrap();
    store.close().await.unwrap();
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::the_process_that_is_killed"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream).unwrap()
}

/// How much of it is in the folder, by a process that looks at it next.
async fn held(folder: &Path, content: Sealed) -> u64 {
    let store = FolderStore::open(&folder.join("content"), OPTIONS).await.unwrap();
    let held = match store.held(content).await.unwrap() {
        Held::Nothing => 0,
        Held::Part(bytes) => bytes,
        Held::All => content.size,
    };
    store.close().await.unwrap();
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_was_verified_less_than_a_group_comes_again_for_each_kill() {
    let laptop = Device::new().await;
    let content = laptop.put(&bytes(SIZE)).await.sealed();
    let phone = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let told = format!("{} {}", listener.local_addr().unwrap().port(), content.size);
    std::fs::write(phone.path().join("told"), told).unwrap();
    std::fs::write(phone.path().join("hash"), content.hash.as_bytes()).unwrap();
    let (mut before, mut cut) = (0, 0);
    for kill in 1..=KILLS {
        let noted = phone.path().join("came");
        let came = || std::fs::read(&noted).ok().and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        let mut child = start(phone.path());
        let (from, to) = accept(&listener).into_split();
        // Somewhere in what is left, at another place within a group each time, and while more comes.
        let part = (content.size - before) / (KILLS - kill + 4) + kill * 1_237;
        let giving = async {
            // What lies in the sockets has not come.
            let _ = laptop.store.give(content, Box::new(from), Box::new(to)).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = giving => {}
            () = async { while came() < part { tokio::task::yield_now().await } } => {}
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let came = came();
        std::fs::remove_file(&noted).unwrap();
        let after = held(phone.path(), content).await;
        assert!(before + came < after + GROUP, "kill {kill}: {before} were there, {came} came, {after} are there");
        if after == content.size {
            // On a busy machine all of it may have come before this process ran again: that was no kill, and the next one begins anew.
            std::fs::remove_dir_all(phone.path().join("content")).unwrap();
            before = 0;
        } else {
            (before, cut) = (after, cut + 1);
        }
    }
    assert!(cut > 0, "it was never killed in the middle");
    let mut child = start(phone.path());
    let (from, to) = accept(&listener).into_split();
    laptop.store.give(content, Box::new(from), Box::new(to)).await.unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(held(phone.path(), content).await, content.size);
}

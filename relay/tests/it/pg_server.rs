//! A PostgreSQL server of a test's own, gone when the test is over.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

const SUPERUSER: &str = "tester";

/// A running server with a data directory of its own, over a Unix socket.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    child: Child,
    made: AtomicU32,
}

impl Server {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&template(), &folder.path().join("data"));
        give(folder.path());
        let child = run(folder.path());
        Self { folder, child, made: AtomicU32::new(0) }
    }

    /// The URL of the database that every server has. It holds a password, though nobody asks for one here.
    pub(crate) fn url(&self) -> String {
        self.url_of("postgres")
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:s3cret@localhost/{database}?host={}", self.folder.path().display())
    }

    /// Makes an empty database.
    pub(crate) async fn database(&self) -> String {
        let name = self.name();
        self.raw(&self.url(), &format!("CREATE DATABASE {name}")).await;
        self.url_of(&name)
    }

    /// Makes a database that is like the one behind a URL, to which nobody is connected.
    pub(crate) async fn copy_of(&self, url: &str) -> String {
        let name = self.name();
        let of = url.split(['/', '?']).nth(3).unwrap();
        self.raw(&self.url(), &format!("CREATE DATABASE {name} TEMPLATE {of} STRATEGY file_copy")).await;
        self.url_of(&name)
    }

    fn name(&self) -> String {
        format!("d{}", self.made.fetch_add(1, Ordering::Relaxed))
    }

    /// Runs a script in the database behind a URL.
    pub(crate) async fn raw(&self, url: &str, script: &str) {
        let mut connection = PgConnection::connect(url).await.unwrap();
        connection.execute(sqlx::raw_sql(AssertSqlSafe(script.to_owned()))).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Stops it as an administrator does, and waits until it is gone.
    pub(crate) fn stop(&mut self) {
        self.signal("INT");
        self.child.wait().unwrap();
    }

    /// Starts it anew after [`Server::stop`].
    pub(crate) fn start_again(&mut self) {
        self.child = run(self.folder.path());
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        // It fails for a server that has stopped.
        let _ = Command::new("kill").args([&format!("-{name}"), &pid]).stderr(Stdio::null()).status();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal("QUIT");
            let _ = self.child.wait();
        }
    }
}

/// Starts the server of a folder, and waits until it takes connections.
fn run(folder: &Path) -> Child {
    let mut command = program("postgres");
    command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
    // What a test loses with its machine it makes again.
    for setting in
        ["listen_addresses=", "fsync=off", "full_page_writes=off", "shared_buffers=16MB", "log_checkpoints=off"]
    {
        command.args(["-c", setting]);
    }
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    loop {
        let line = lines.next().unwrap_or_else(|| panic!("PostgreSQL does not start:\n{said}")).unwrap();
        if line.contains("ready to accept connections") {
            break;
        }
        said.push_str(&line);
        said.push('\n');
    }
    // A pipe that nobody reads would stop it in the end.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// A data directory as `initdb` makes it. Made once for all tests of a build: it takes a second.
fn template() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(home).unwrap();
    let done = home.join("postgresql-template");
    // Of several test processes the first makes it.
    let lock = std::fs::File::create(home.join("postgresql-template.lock")).unwrap();
    lock.lock().unwrap();
    if !done.exists() {
        let folder = tempfile::tempdir().unwrap();
        give(folder.path());
        let data = folder.path().join("data");
        let mut command = program("initdb");
        command.args([
            "--auth=trust",
            "--no-sync",
            "--no-locale",
            "--encoding=UTF8",
            "--wal-segsize=1",
            "-U",
            SUPERUSER,
        ]);
        let output = command.arg("-D").arg(&data).output().unwrap();
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        let half = home.join("postgresql-template.half");
        let _ = std::fs::remove_dir_all(&half);
        copy(&data, &half);
        std::fs::rename(&half, &done).unwrap();
    }
    done
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// PostgreSQL refuses to run as root: whom it runs as instead.
fn account() -> Option<(u32, u32)> {
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    if id.trim_ascii() != b"0" {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    Some(of("postgres").or_else(|| of("nobody")).expect("root needs another account to run PostgreSQL as"))
}

/// Gives a folder and all in it to whom the server runs as, for nobody else to read.
fn give(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Some((user, group)) = account() {
        chown(folder, Some(user), Some(group)).unwrap();
    }
    if folder.is_dir() {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::read_dir(folder).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

/// One of PostgreSQL's programs, to be run as [`account`] says.
fn program(name: &str) -> Command {
    let on_path =
        std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debians: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    debians.sort();
    let found = on_path.chain(debians.into_iter().rev()).map(|folder| folder.join(name)).find(|path| path.is_file());
    let path = found.unwrap_or_else(|| panic!("there is no '{name}' here: install Debian's package `postgresql`"));
    let mut command = Command::new(path);
    if let Some((user, group)) = account() {
        command.uid(user).gid(group);
    }
    command.current_dir("/").stdin(Stdio::null());
    command
}

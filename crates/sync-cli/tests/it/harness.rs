//! Devices and relays as processes. Everything is waited for, with a limit; nothing is slept for.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take. Far more than it does: whoever meets it has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The command under test.
pub(crate) const KSYNC: &str = env!("CARGO_BIN_EXE_ksync");

/// The relay's program, built from the present sources.
///
/// Cargo builds the programs of a test's own package only, so this asks it for the relay's. That is done once for each run
/// of the tests: nextest starts a process for each test and gives the run an id, which is kept beside the lock.
///
/// `cargo xtask test --fips` tests the relay's package too, and with that builds its program. To ask for it here would build
/// the whole workspace without that feature.
pub(crate) fn relay_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(KSYNC).parent().unwrap();
        let program = folder.join(format!("sync-relay{}", std::env::consts::EXE_SUFFIX));
        if cfg!(feature = "fips") {
            assert!(program.exists(), "there is no {}: `cargo xtask test --fips` builds it", program.display());
            return program;
        }
        let run = std::env::var("NEXTEST_RUN_ID").unwrap_or_default();
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let lock = File::create(tmp.join("relay-build.lock")).unwrap();
        lock.lock().unwrap();
        let note = tmp.join("relay-built-for");
        let built = std::fs::read_to_string(&note).is_ok_and(|id| !id.is_empty() && id == run);
        if !built || !program.exists() {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            // With `--workspace` and a test the features are those of the tests' own build, so nothing is built a second time.
            cargo.args(["build", "--quiet", "--workspace", "--bin", "sync-relay", "--test", "it"]);
            cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
            // They describe this test's package. Build scripts that look at them, as ring's does, would run once more, and all
            // that lies above be built anew.
            for (name, _) in std::env::vars_os() {
                let text = name.to_string_lossy();
                if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                    cargo.env_remove(&name);
                }
            }
            assert!(cargo.status().unwrap().success(), "the relay does not build");
            std::fs::write(note, run).unwrap();
        }
        program
    })
}

/// A process that is ended with its value.
pub(crate) struct Process {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Every line so far, for messages and for later looks.
    pub(crate) seen: Vec<String>,
    what: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (send, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { stdin: child.stdin.take(), child, lines, seen: vec![], what }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs: one that ended and that nobody has waited for does not.
    pub(crate) fn runs(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }

    /// The next line of stdout; `None` at its end.
    pub(crate) fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing more came from {}\n{}", self.what, self.seen.join("\n")),
        }
    }

    /// The next event of that name. Others before it are passed over; an error that is not wanted fails the test.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        while let Some(line) = self.line() {
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}"));
            if event["event"] == name {
                return event;
            }
            assert!(event["event"] != "error", "waiting for {name}: {line}\n{}", self.what);
        }
        panic!("{} ended without {name}\n{}", self.what, self.seen.join("\n"));
    }

    /// The next event, which has to be an error of this code.
    #[track_caller]
    pub(crate) fn error(&mut self, code: &str) {
        let line = self.line().expect("an error");
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((event["event"].as_str(), event["code"].as_str()), (Some("error"), Some(code)), "{line}");
    }

    /// A line for the process to read.
    pub(crate) fn write(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Ends the input.
    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal by its name, such as TERM.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, and gives its exit code and the rest of its output.
    pub(crate) fn finish(&mut self) -> (Option<i32>, Vec<String>) {
        let mut rest = vec![];
        while let Some(line) = self.line() {
            rest.push(line);
        }
        (self.wait().code(), rest)
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.stdin = None;
        // Its output is at its end, or it would not be; what is left is bounded by the limit of the test itself.
        self.child.wait().unwrap()
    }

    /// Waits for an exit code.
    pub(crate) fn ends_with(&mut self, code: i32) {
        let (found, rest) = self.finish();
        assert_eq!(found, Some(code), "{}\n{}\n{}", self.what, self.seen.join("\n"), rest.join("\n"));
    }
}

/// A relay on SQLite, on a free port of loopback.
pub(crate) struct Relay {
    pub(crate) folder: PathBuf,
    pub(crate) address: String,
    pub(crate) http: String,
    process: Option<Process>,
}

impl Relay {
    pub(crate) fn start(folder: impl Into<PathBuf>) -> Self {
        Self::start_with(folder, |_| ())
    }

    /// The same with other settings.
    pub(crate) fn start_with(folder: impl Into<PathBuf>, change: impl FnOnce(&mut Command)) -> Self {
        let mut relay = Self { folder: folder.into(), address: String::new(), http: String::new(), process: None };
        let mut command = relay.command("127.0.0.1:0");
        change(&mut command);
        relay.up(&mut command);
        relay
    }

    /// The command that serves this relay.
    pub(crate) fn command(&self, listen: &str) -> Command {
        self.command_with(listen, "127.0.0.1:0")
    }

    /// The same with another place for HTTP.
    pub(crate) fn command_with(&self, listen: &str, http: &str) -> Command {
        let mut command = Command::new(relay_program());
        command.args(["serve", "--listen", listen, "--http", http, "--data"]).arg(&self.folder);
        let log = File::options().create(true).append(true).open(self.folder.with_extension("log")).unwrap();
        command.stderr(log);
        command
    }

    fn up(&mut self, command: &mut Command) {
        let mut process = Process::start(command);
        let ready = process.event("ready");
        self.address = ready["address"].as_str().unwrap().to_owned();
        self.http = ready["http"].as_str().unwrap().to_owned();
        self.process = Some(process);
    }

    /// `host:port` as devices reach it.
    pub(crate) fn host(&self) -> &str {
        self.address.split_once('@').unwrap().1
    }

    /// Fails the test if the relay has ended by itself: its devices would wait for it, each to its limit.
    #[track_caller]
    pub(crate) fn must_run(&self) {
        if !self.process.as_ref().is_some_and(Process::runs) {
            let log = std::fs::read_to_string(self.folder.with_extension("log")).unwrap_or_default();
            panic!("the relay ended by itself; its log:\n{log}");
        }
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        process.signal("TERM");
        process.ends_with(0);
    }

    /// Ends it as a crash would.
    pub(crate) fn crash(&mut self) {
        self.must_run();
        self.process.take().unwrap().kill();
    }

    /// Starts it again where it was.
    pub(crate) fn again(&mut self) {
        let mut command = self.command(self.host());
        self.up(&mut command);
    }
}

/// A device: a home, and the command on it.
pub(crate) struct Device {
    pub(crate) home: PathBuf,
}

/// What one run of the command came to.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) events: Vec<Value>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn new(output: Output, json: bool) -> Self {
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}"));
        let events = if json { stdout.lines().map(parse).collect() } else { vec![] };
        Self { code: output.status.code(), events, stdout, stderr }
    }

    /// The events of that name.
    pub(crate) fn all(&self, name: &str) -> Vec<&Value> {
        self.events.iter().filter(|e| e["event"] == name).collect()
    }

    /// The one event of that name.
    pub(crate) fn one(&self, name: &str) -> &Value {
        let found = self.all(name);
        assert_eq!(found.len(), 1, "one {name} in\n{}\n{}", self.stdout, self.stderr);
        found[0]
    }

    /// The texts of the blobs.
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.all("blob").iter().map(|b| b["text"].as_str().unwrap()).collect()
    }

    /// It was done.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// It failed with this code and exit code, and said what to do.
    #[track_caller]
    pub(crate) fn fails(self, code: &str, exit: i32) -> Self {
        let error = self.one("error");
        assert_eq!((error["code"].as_str(), self.code), (Some(code), Some(exit)), "{}\n{}", self.stdout, self.stderr);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(". ") && message.ends_with('.'), "no next step: {message}");
        self
    }
}

/// What may set the command up from outside a test.
const SETTINGS: [&str; 14] = [
    "KSYNC_HOME",
    "KSYNC_JSON",
    "KSYNC_TIMEOUT",
    "KSYNC_LISTEN",
    "KSYNC_NO_DIRECT",
    "KSYNC_RELAY",
    "KSYNC_NAME",
    "KSYNC_APP_ID",
    "KSYNC_LOG",
    "KSYNC_VAULT",
    "KSYNC_PASSPHRASE",
    "KSYNC_PASSPHRASE_FILE",
    "KSYNC_NEW_PASSPHRASE",
    "KSYNC_BACKUP_PASSPHRASE",
];

/// The command, with nothing set up from outside.
pub(crate) fn ksync() -> Command {
    let mut command = Command::new(KSYNC);
    for name in SETTINGS {
        command.env_remove(name);
    }
    // Whoever runs the tests keeps their keychain to themselves.
    command.env("KSYNC_VAULT", "file");
    // The width of whatever terminal the tests run in is not the test's.
    command.env_remove("COLUMNS");
    command
}

impl Device {
    /// A home that does not exist yet.
    pub(crate) fn new(home: impl Into<PathBuf>) -> Self {
        Self { home: home.into() }
    }

    /// A device with a group of its own at this relay.
    pub(crate) fn init(home: impl Into<PathBuf>, name: &str, relay: &Relay) -> Self {
        let device = Self::new(home);
        device.run(&["init", "--name", name, "--relay", &relay.address]).ok();
        device
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ksync();
        command.arg("--home").arg(&self.home).arg("--json").args(arguments);
        // An embedded relay, where a test starts one, stays on this host.
        command.env("KSYNC_LISTEN", "127.0.0.1:0");
        command
    }

    /// Starts the command and leaves it running.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        Process::start(&mut self.command(arguments))
    }

    /// Runs the command to its end, with nothing to read.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    /// Runs the command to its end, with this to read.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        Ran::new(run(&mut self.command(arguments), input), true)
    }

    /// Runs the command as a person would, without `--json`.
    pub(crate) fn say(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = ksync();
        command.arg("--home").arg(&self.home).args(arguments);
        Ran::new(run(&mut command, input), false)
    }

    pub(crate) fn status(&self) -> Value {
        self.run(&["status"]).ok().one("status").clone()
    }

    /// What this device pulls as texts.
    pub(crate) fn pulls(&self) -> Vec<String> {
        self.run(&["pull"]).ok().texts().into_iter().map(str::to_owned).collect()
    }

    /// Pushes one text, and waits until it is in this state.
    pub(crate) fn push(&self, text: &str, state: &str) {
        let ran = self.run_with(&["push", "--wait", state], text.as_bytes()).ok();
        assert_eq!(ran.one("pushed")["state"], state);
    }
}

/// Runs a command to its end, with this to read.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // It may have read enough.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Pairs a newcomer with a member that shows the link. Gives the newcomer's id.
pub(crate) fn pair(member: &Device, newcomer: &Device, name: &str) -> String {
    let mut invite = member.start(&["invite"]);
    let uri = invite.event("invite")["uri"].as_str().unwrap().to_owned();
    let mut join = newcomer.start(&["join", &uri, "--name", name]);
    let code = join.event("check")["code"].as_str().unwrap().to_owned();
    assert_eq!(invite.event("request")["name"], name);
    invite.write(&format!("{code}\n"));
    let joined = join.event("joined");
    assert_eq!(invite.event("joined"), joined);
    join.ends_with(0);
    invite.ends_with(0);
    joined["device"].as_str().unwrap().to_owned()
}

/// Runs a check again and again until it holds: for programs of others that give no sign of their own.
pub(crate) fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(begin.elapsed() < LIMIT, "{what} did not happen");
        std::thread::yield_now();
    }
}

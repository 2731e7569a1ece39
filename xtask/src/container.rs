//! The relay's image for `relay-check`: built, started, asked, killed, started again and stopped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Running, capture, program, run as run_program};
use crate::{Failure, dist, failed};

const IMAGE: &str = "sync-relay";
/// The volume that outlives the containers.
const VOLUME: &str = "relay-check";
/// How long a relay may take to stop, in seconds; then it would be killed.
const PATIENCE: u64 = 10;

/// A container engine with nothing in common with the machine's own: images, volumes and containers lie in a folder that is deleted.
pub(crate) struct Engine {
    folder: TempDir,
}

/// A relay in a container, which is removed when this is dropped.
pub(crate) struct Container<'a> {
    engine: &'a Engine,
    name: String,
    running: Running,
    pub(crate) address: String,
    http: String,
}

impl Engine {
    /// Builds the program and the image.
    pub(crate) fn with_image() -> Result<Self, Failure> {
        let made = dist::relay()?;
        // Sockets lie in there, whose paths have to be short.
        let folder = tempfile::tempdir().map_err(|e| failed("make a folder for the container engine", e))?;
        let engine = Self { folder };
        let mut build = engine.command("buildah");
        // No namespace is made for a build that runs nothing.
        build.args(["build", "--quiet", "--isolation", "chroot", "--format", "docker", "--tag", IMAGE]);
        build.args(["--file", "relay/deploy/Containerfile"]).arg(&made.context).stdout(Stdio::null());
        run_program(&mut build)?;
        Ok(engine)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = program(name, &["--storage-driver", "vfs", "--root"]);
        command.arg(self.folder.path().join("storage")).arg("--runroot").arg(self.folder.path().join("run"));
        command
    }

    /// `runc`, and cgroups without systemd: there are machines with neither crun's kernel nor systemd.
    fn podman(&self, args: &[&str]) -> Command {
        let mut command = self.command("podman");
        command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs"]).args(args);
        command
    }

    /// The image's size in bytes.
    pub(crate) fn image_size(&self) -> Result<u64, Failure> {
        let told = capture(&mut self.podman(&["image", "inspect", "--format", "{{.Size}}", IMAGE]))?;
        told.trim().parse().map_err(|e| failed("read the image's size", e))
    }

    /// Starts a relay on the volume: what it holds is what the one before left there. It can write nowhere else.
    pub(crate) fn start(&self, name: &str, udp: u16, http: u16, log: &Path) -> Result<Container<'_>, Failure> {
        let mut command = self.podman(&["run", "--rm", "--name", name, "--network", "host"]);
        command.args([
            "--read-only",
            "--read-only-tmpfs=false",
            "--cap-drop",
            "all",
            "--security-opt",
            "no-new-privileges",
        ]);
        // podman asks for more than every machine may give.
        command.args(["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=1000:1000"]);
        command.args(["--volume", &format!("{VOLUME}:/data")]);
        // By a name: the program has to find it out without the libraries that would otherwise do that.
        for (variable, value) in [
            ("LISTEN", format!("127.0.0.1:{udp}")),
            ("HTTP", "127.0.0.1:$PORT".to_owned()),
            ("PUBLIC_URL", format!("http://localhost:{http}")),
            ("ACCESS", "open".to_owned()),
        ] {
            command.args(["--env", &format!("KSYNC_RELAY_{variable}={value}")]);
        }
        command.args(["--env", &format!("PORT={http}"), IMAGE]);
        let log = std::fs::File::options().create(true).append(true).open(log).map_err(|e| failed("make a log", e))?;
        let mut running = Running::start(command.stdout(Stdio::piped()).stderr(log))?;
        let out = running.child().stdout.take().ok_or("podman has no standard output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).map_err(|e| failed("hear from the container", e))?;
        let ready: Value = serde_json::from_str(&line).map_err(|e| failed("read what the container said", e))?;
        let address = ready["address"].as_str().ok_or("the container told no address")?.to_owned();
        Ok(Container { engine: self, name: name.to_owned(), running, address, http: format!("127.0.0.1:{http}") })
    }
}

impl Container<'_> {
    /// Whether it answers at both paths, by its own health check, and by the name that it goes under.
    pub(crate) fn is_well(&self) -> Result<(), Failure> {
        for path in ["/health", "/ready"] {
            let answer = self.get(path)?;
            if !answer.starts_with("HTTP/1.1 200") {
                return Err(format!("{path} answers: {answer}"));
            }
        }
        run_program(&mut self.engine.podman(&["healthcheck", "run", &self.name]))?;
        let state = self.told("{{.State.Health.Status}}")?;
        if state != "healthy" {
            return Err(format!("the health check's state is '{state}'"));
        }
        let mut doctor = self.engine.podman(&["exec", &self.name, "/sync-relay", "admin", "--json", "doctor"]);
        let found = doctor.stderr(Stdio::inherit()).output().map_err(|e| failed("ask the relay's doctor", e))?.stdout;
        let found = String::from_utf8_lossy(&found).into_owned();
        let named = found.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if named.into_iter().any(|finding| finding["about"] == "public-url" && finding["level"] == "ok") {
            return Ok(());
        }
        Err(format!("the relay does not find itself by name:\n{found}"))
    }

    /// Kibibytes that the process holds: all, and with what is shared counted in part.
    pub(crate) fn memory(&self) -> Result<(u64, u64), Failure> {
        let path = format!("/proc/{}/smaps_rollup", self.told("{{.State.Pid}}")?);
        let text = std::fs::read_to_string(path).map_err(|e| failed("look at the relay's memory", e))?;
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).ok_or(format!("there is no {name}"))
        };
        Ok((figure("Rss:")?, figure("Pss:")?))
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) -> Result<(), Failure> {
        run_program(self.engine.podman(&["kill", &self.name]).stdout(Stdio::null()))?;
        self.running.wait().map(drop)
    }

    /// Ends it in order; gives how long that took.
    pub(crate) fn stop(mut self) -> Result<Duration, Failure> {
        let began = Instant::now();
        let patience = PATIENCE.to_string();
        run_program(self.engine.podman(&["stop", "--time", &patience, &self.name]).stdout(Stdio::null()))?;
        let status = self.running.wait()?;
        if status.success() { Ok(began.elapsed()) } else { Err(format!("the container ended with {status}")) }
    }

    fn told(&self, format: &str) -> Result<String, Failure> {
        let told = capture(&mut self.engine.podman(&["inspect", "--format", format, &self.name]))?;
        Ok(told.trim().to_owned())
    }

    fn get(&self, path: &str) -> Result<String, Failure> {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.http)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        asked().map_err(|e| failed(&format!("ask the container for {path}"), e))
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // It is gone already when all went well.
        let mut remove = self.engine.podman(&["rm", "--force", "--ignore", "--time", "0", &self.name]);
        let _ = remove.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

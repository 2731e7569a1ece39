//! A screen without a monitor, and what a camera would make of it.

use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// How often an X server is tried: two that start at once may want the same display, and then one of them ends.
const TRIES: usize = 5;

/// An X server on a display number of its own choice.
#[derive(Debug)]
pub struct Screen {
    display: String,
    _server: Server,
}

/// The X server's process; ends with its value.
#[derive(Debug)]
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A picture of the whole of this screen.
pub(crate) fn picture(display: &str, path: &Path) {
    let taken = Command::new("import").args(["-display", display, "-window", "root"]).arg(path).status();
    assert!(taken.is_ok_and(|status| status.success()), "no screenshot");
}

impl Screen {
    /// A screen of this size in pixels.
    ///
    /// # Panics
    /// If Xvfb cannot be started.
    pub fn start(width: u32, height: u32) -> Self {
        let mut command = Command::new("Xvfb");
        let size = format!("{width}x{height}x24");
        // It writes the number of its display to this descriptor once it can be used.
        command.args(["-displayfd", "1", "-screen", "0", &size, "-nolisten", "tcp", "-noreset"]);
        Self::of(&mut command)
    }

    fn of(command: &mut Command) -> Self {
        let mut said = String::new();
        for _ in 0..TRIES {
            let mut errors = tempfile::tempfile().expect("a file for what it says");
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors.try_clone().expect("a second handle"));
            let mut server = Server(command.spawn().expect("Xvfb is installed"));
            let out = server.0.stdout.take().expect("it is piped");
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).expect("Xvfb can be heard");
            if let Ok(number) = line.trim().parse::<u32>() {
                return Self { display: format!(":{number}"), _server: server };
            }
            drop(server);
            said.clear();
            let read = errors.rewind().and_then(|()| errors.read_to_string(&mut said));
            read.expect("what it said can be read");
        }
        panic!("Xvfb ended {TRIES} times as it started: {said}");
    }

    /// What programs call it.
    pub fn display(&self) -> &str {
        &self.display
    }

    /// A picture of the whole screen.
    ///
    /// # Panics
    /// If none can be taken.
    pub fn picture(&self, path: &Path) {
        picture(&self.display, path);
    }
}

/// The texts of the QR codes in a picture.
///
/// # Panics
/// If zbarimg cannot be run.
pub fn decode(picture: &Path) -> Vec<String> {
    let arguments = ["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable"];
    let found = Command::new("zbarimg").args(arguments).arg(picture).output().expect("zbar-tools is installed");
    String::from_utf8_lossy(&found.stdout)
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|l| !l.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, argument: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(argument);
        command
    }

    #[test]
    fn an_x_server_that_finds_its_display_taken_is_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let script = "mkdir \"$1\" && exit 1; echo 7; exec cat";
        assert_eq!(Screen::of(&mut sh(script, &folder.path().join("tried"))).display(), ":7");
    }

    #[test]
    #[should_panic(expected = "no room for a screen")]
    fn an_x_server_that_always_ends_says_why() {
        Screen::of(&mut sh("echo no room for a screen >&2; exit 1", Path::new("")));
    }
}

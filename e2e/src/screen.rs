//! A screen without a monitor, and what a camera would make of it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// An X server on a display number of its own choice.
#[derive(Debug)]
pub struct Screen {
    display: String,
    server: Child,
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
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
        // It writes the number of its display to this descriptor once it can be used.
        command.args([
            "-displayfd",
            "1",
            "-screen",
            "0",
            &format!("{width}x{height}x24"),
            "-nolisten",
            "tcp",
            "-noreset",
        ]);
        let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("Xvfb is installed");
        let mut line = String::new();
        let out = server.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("Xvfb starts");
        Self { display: format!(":{}", line.trim()), server }
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

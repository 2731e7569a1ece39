//! A screen without a monitor, terminals on it, and what a camera would make of them.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{Device, KSYNC, Process, ksync, run, until};

/// An X server on a display number of its own choice.
pub(crate) struct Screen {
    display: String,
    _server: Process,
}

impl Screen {
    pub(crate) fn start() -> Self {
        let mut command = Command::new("Xvfb");
        // It writes the number of its display to this descriptor once it can be used.
        command.args(["-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp", "-noreset"]);
        command.stderr(Stdio::null());
        let mut server = Process::start(&mut command);
        let display = format!(":{}", server.line().expect("Xvfb starts").trim());
        Self { display, _server: server }
    }

    /// A picture of the whole screen.
    pub(crate) fn picture(&self, path: &Path) {
        let taken = Command::new("import").args(["-display", &self.display, "-window", "root"]).arg(path).status();
        assert!(taken.unwrap().success(), "no screenshot");
    }

    /// The text of the QR code that the screen shows, waited for. The picture stays at `path`.
    pub(crate) fn decode(&self, path: &Path) -> String {
        until("a QR code on the screen", || {
            self.picture(path);
            let found =
                run(Command::new("zbarimg").args(["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable"]).arg(path), b"");
            let text = String::from_utf8(found.stdout).unwrap();
            (!text.trim().is_empty()).then(|| text.trim().to_owned())
        })
    }
}

/// How a terminal looks.
#[derive(Clone, Copy)]
pub(crate) struct Theme {
    pub(crate) size: &'static str,
    /// X resources of xterm.
    pub(crate) colours: &'static [&'static str],
}

/// White on black.
pub(crate) const DARK: Theme = Theme { size: "100x46", colours: &["*background: black", "*foreground: white"] };

/// Black on white, with the first colours such that whoever draws in "black" on "white" draws light on dark.
pub(crate) const LIGHT: Theme = Theme {
    size: "100x46",
    colours: &[
        "*background: white",
        "*foreground: black",
        "*color0: #eeeeee",
        "*color7: #222222",
        "*color8: #ffffff",
        "*color15: #000000",
    ],
};

/// A terminal as it opens by default, which has no room for the code.
pub(crate) const SMALL: Theme = Theme { size: "80x24", ..DARK };

/// `ksync` in a terminal window. What is typed comes through a pipe, so that a test can type.
pub(crate) struct Terminal {
    window: Child,
    typed: File,
    ended: PathBuf,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.window.kill();
        let _ = self.window.wait();
    }
}

impl Terminal {
    pub(crate) fn open(screen: &Screen, device: &Device, theme: Theme, folder: &Path, command: &str) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let (input, ended) = (folder.join("typed"), folder.join("ended"));
        assert!(Command::new("mkfifo").arg(&input).status().unwrap().success());
        // For reading too, so that opening waits for nobody.
        let typed = File::options().read(true).write(true).open(&input).unwrap();
        let mut window = Command::new("xterm");
        // Settings that the command reads are taken out of the environment by `ksync`.
        window.env_clear().envs(std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("KSYNC_")));
        window.env("KSYNC_HOME", &device.home).env("LC_ALL", "C.UTF-8");
        window.args(["-display", &screen.display, "-u8", "-fa", "DejaVu Sans Mono", "-fs", "11"]);
        window.args(["-geometry", &format!("{}+0+0", theme.size)]);
        for colour in theme.colours {
            window.args(["-xrm", colour]);
        }
        let script = format!(
            "'{KSYNC}' {command} < '{}'; echo $? > '{}'; exec cat '{}'",
            input.display(),
            ended.display(),
            input.display()
        );
        window.args(["-e", "sh", "-c", &script]);
        let window = window.stderr(Stdio::null()).spawn().unwrap();
        Self { window, typed, ended }
    }

    pub(crate) fn types(&mut self, line: &str) {
        writeln!(self.typed, "{line}").unwrap();
    }

    /// The command's exit code, waited for. The window stays.
    pub(crate) fn exit_code(&self) -> i32 {
        until("the end of the command", || std::fs::read_to_string(&self.ended).ok()?.trim().parse().ok())
    }
}

/// Without a terminal nothing is drawn, and no colour is set.
#[test]
fn a_pipe_gets_no_colours() {
    let output = run(ksync().args(["--home", "/nowhere/at/all", "status"]), b"");
    assert!(!output.stderr.is_empty() && !output.stderr.contains(&0x1b));
}

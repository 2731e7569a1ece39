//! WebKit's WebDriver, which starts an app and steers it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::until;

/// The driver's process; ends with its value, and the app with it.
#[derive(Debug)]
pub(crate) struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        for app in self.children() {
            let _ = Command::new("kill").args(["-KILL", &app.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Driver {
    /// Starts it, and gives the port that it listens on. It takes one that is free: whoever chose one for it could see it taken by
    /// somebody else before the driver gets there.
    ///
    /// # Panics
    /// If it does not start, with what it wrote to its log.
    pub(crate) async fn start(command: &mut Command, log: &Path) -> (Self, u16) {
        command.args(["--port=0", "--host=127.0.0.1"]);
        let mut driver = Self(command.spawn().expect("webkit2gtk-driver is installed"));
        let port = until("WebKitWebDriver", async || {
            if let Ok(Some(status)) = driver.0.try_wait() {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                panic!("WebKitWebDriver ended with {status} as it started: {said}");
            }
            driver.port()
        });
        let port = port.await;
        (driver, port)
    }

    /// The processes that it has started: the app.
    pub(crate) fn children(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.0.id());
        let listed = std::fs::read_to_string(path).unwrap_or_default();
        listed.split_whitespace().filter_map(|id| id.parse().ok()).collect()
    }

    /// The port of the one socket of its own on which it listens.
    fn port(&self) -> Option<u16> {
        let process = format!("/proc/{}", self.0.id());
        let files = std::fs::read_dir(format!("{process}/fd")).ok()?;
        let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        let own: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
        let sockets = std::fs::read_to_string(format!("{process}/net/tcp")).ok()?;
        sockets.lines().find_map(|line| {
            // proc(5): number, address:port in hex, the other side's, the state (0A: listens), …, the tenth is the inode.
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, "0A", _, _, _, _, _, inode, ..] = fields.as_slice() else { return None };
            let is_own = own.contains(&format!("socket:[{inode}]"));
            u16::from_str_radix(local.split_once(':')?.1, 16).ok().filter(|_| is_own)
        })
    }
}

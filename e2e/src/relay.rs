//! A relay in this process, on SQLite and loopback.

use std::path::{Path, PathBuf};

use sync_relay::{Relay as Server, RelayConfig, RunningRelay};

/// A relay that can be stopped and started again where it was.
pub struct Relay {
    folder: PathBuf,
    address: String,
    running: Option<RunningRelay>,
}

impl Relay {
    /// A relay on a free port.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("the relay's folder can be made");
        let running = Server::start(RelayConfig::on_loopback(folder)).await.expect("the relay starts");
        Self { folder: folder.to_owned(), address: running.address(), running: Some(running) }
    }

    /// `ksync://…`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends it. Devices find nobody at its address.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
    }

    /// Starts it again at the same address.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn again(&mut self) {
        let host = self.address.split_once('@').map(|(_, host)| host).expect("a pinned address");
        let listen = Some(host.parse().expect("host and port"));
        let config = RelayConfig { listen, ..RelayConfig::on_loopback(&self.folder) };
        self.running = Some(Server::start(config).await.expect("the relay starts again"));
    }

    /// The relay itself, while it runs.
    ///
    /// # Panics
    /// If it was stopped.
    pub fn running(&self) -> &RunningRelay {
        self.running.as_ref().expect("the relay runs")
    }
}

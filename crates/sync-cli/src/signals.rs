//! Ctrl-C and SIGTERM: the first asks the command to end in order, the second ends the process.

use tokio::sync::watch;

use crate::exit::Exit;

/// Whether the process has been asked to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until the process is asked to end.
    pub(crate) async fn wait(&self) {
        let mut asked = self.0.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            // Nobody listens for signals any more, so none will come.
            std::future::pending::<()>().await;
        }
    }
}

/// Listens for signals from now on.
pub(crate) fn listen() -> std::io::Result<Stop> {
    let mut signals = Signals::new()?;
    let (ask, asked) = watch::channel(false);
    tokio::spawn(async move {
        signals.next().await;
        ask.send_replace(true);
        signals.next().await;
        std::process::exit(Exit::Other as i32);
    });
    Ok(Stop(asked))
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

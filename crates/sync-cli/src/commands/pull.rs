//! `pull`: prints what others pushed and this consumer has not had.

use sync_client::{Code, SyncClient, SyncError};

use super::{Context, watch};
use crate::cli::Pull;
use crate::event::Event;
use crate::out::{Done, Failure};
use crate::words;

/// The consumer whose position `pull` moves. An app beside it on the same home has its own.
pub(super) const CONSUMER: &str = "cli";

/// How many blobs are printed before the position moves. A crash in between prints them again.
const BATCH: usize = 256;

pub(super) async fn pull(context: &Context, arguments: Pull) -> Done {
    context
        .with(async |client| {
            let left = arguments.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
            let mut printer = Printer { context, client, channel: arguments.channel.as_deref(), left };
            if arguments.follow { printer.follow().await } else { printer.once().await }
        })
        .await
}

struct Printer<'a> {
    context: &'a Context,
    client: &'a SyncClient,
    channel: Option<&'a str>,
    /// How many blobs may still be printed.
    left: usize,
}

impl Printer<'_> {
    /// What is here, then what the relay has, then done.
    async fn once(&mut self) -> Done {
        self.print().await?;
        self.context.out.progress("Fetching…");
        let fetched = self.context.catch_up(self.client).await;
        self.context.out.progress_over();
        // Also after an error: some may have come before it.
        self.print().await?;
        fetched
    }

    /// What comes, until the process is asked to end or the limit is reached.
    async fn follow(&mut self) -> Done {
        let mut events = self.client.events();
        let mut connected = true;
        loop {
            self.print().await?;
            if self.left == 0 {
                return Ok(());
            }
            let event = tokio::select! {
                event = events.next() => event,
                () = self.context.stop.wait() => return Ok(()),
            };
            let event = event.ok_or_else(|| Failure::from(SyncError::new(Code::Closed, "the client was closed")))?;
            watch::removed(&event)?;
            match &event {
                sync_client::ClientEvent::Connected => connected = true,
                // Said once: it is tried again and again.
                sync_client::ClientEvent::Disconnected { .. } if connected => {
                    connected = false;
                    self.context.out.aside(words::event(&event).unwrap_or_default());
                }
                sync_client::ClientEvent::Halted { .. } | sync_client::ClientEvent::StoreFailed { .. } => {
                    self.context.out.aside(words::event(&event).unwrap_or_default());
                }
                _ => {}
            }
        }
    }

    /// Prints what the consumer has not had, and moves its position behind what was printed.
    async fn print(&mut self) -> Done {
        while self.left > 0 {
            let blobs = self.client.read(CONSUMER, self.channel, BATCH.min(self.left)).await?;
            let Some(last) = blobs.last() else { return Ok(()) };
            let out = self.context.out;
            let with_channel = self.channel.is_none();
            out.write(|w| {
                for blob in &blobs {
                    out.line(w, &Event::from(blob), words::blob(blob, with_channel, |text| out.foreign(text)))?;
                }
                Ok(())
            })?;
            self.client.advance(CONSUMER, self.channel, last.position).await?;
            self.left -= blobs.len();
        }
        Ok(())
    }
}

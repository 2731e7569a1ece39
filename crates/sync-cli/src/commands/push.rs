//! `push`: blobs into the outbox, durable when it is told, and waiting for the relay or the others if asked to.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::{Duration, Instant};

use sync_client::{Code, Receipt, ReceiptState, SyncClient, SyncError, limits};
use tokio::sync::mpsc;

use super::Context;
use crate::cli::Push;
use crate::event::Event;
use crate::input::{self, Line};
use crate::out::{Done, Failure};
use crate::words::count;

/// At most so many lines go into one transaction: those that have been read already, for none is waited for.
const BATCH_LINES: usize = 512;

/// How often progress is shown.
const SHOW: Duration = Duration::from_millis(100);

pub(super) async fn push(context: &Context, arguments: Push) -> Done {
    context
        .with(async |client| {
            let input = input::open(&arguments.file)?;
            let state = arguments.wait.map(ReceiptState::from);
            if arguments.lines {
                let lines = input::lines(input);
                Pusher::new(context, client, &arguments.channel, state).run(lines).await
            } else {
                let blob = tokio::select! {
                    blob = input::whole(input, limits::LARGE_BLOB_BYTES) => blob?,
                    () = context.stop.wait() => return Err(Failure::Interrupted),
                };
                let mut pusher = Pusher::new(context, client, &arguments.channel, state);
                pusher.take(vec![blob]).await?;
                pusher.drain().await
            }
        })
        .await
}

/// The wait for one blob to get where it should be.
type Reached = Pin<Box<dyn Future<Output = Result<(), SyncError>> + Send>>;

struct Pusher<'a> {
    context: &'a Context,
    client: &'a SyncClient,
    channel: &'a str,
    /// What is waited for.
    state: Option<ReceiptState>,
    /// Pushed, and not in that state yet.
    waiting: VecDeque<Receipt>,
    /// Why nothing is waited for any more.
    late: Option<SyncError>,
    pushed: u64,
    empty: u64,
    refused: Option<Code>,
    shown: Option<Instant>,
}

impl<'a> Pusher<'a> {
    fn new(context: &'a Context, client: &'a SyncClient, channel: &'a str, state: Option<ReceiptState>) -> Self {
        Self {
            context,
            client,
            channel,
            state,
            waiting: VecDeque::new(),
            late: None,
            pushed: 0,
            empty: 0,
            refused: None,
            shown: None,
        }
    }

    /// Pushes line by line until the input ends.
    async fn run(mut self, mut lines: mpsc::Receiver<Line>) -> Done {
        // Kept while lines are taken: one that began anew with each batch would get nowhere as long as lines come.
        let mut oldest: Option<Reached> = None;
        loop {
            if oldest.is_none() {
                oldest = self.reached();
            }
            tokio::select! {
                biased;
                () = self.context.stop.wait() => {
                    // What has been told is durable; what has not been told was not pushed.
                    self.give_up().await?;
                    self.context.out.progress_over();
                    self.context.out.aside(format_args!("Interrupted after {}.", count(self.pushed, "line")));
                    return Err(Failure::Interrupted);
                }
                done = wait_for(&mut oldest) => {
                    oldest = None;
                    self.settle(done).await?;
                }
                line = lines.recv() => match line {
                    Some(line) => self.batch(line, &mut lines).await?,
                    None => break,
                },
            }
        }
        self.drain().await
    }

    /// Pushes this line and those that have been read behind it.
    async fn batch(&mut self, first: Line, lines: &mut mpsc::Receiver<Line>) -> Done {
        let (mut blobs, mut bytes) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(line) = next.take() {
            match line {
                Line::Text(text) if text.is_empty() => self.empty += 1,
                Line::Text(text) => {
                    bytes += text.len();
                    blobs.push(text);
                }
                Line::TooLong => {
                    let at = self.pushed + blobs.len() as u64 + self.empty + 1;
                    let large = input::too_large(limits::BLOB_BYTES);
                    let error = SyncError { message: format!("line {at}: {}", large.message), ..large };
                    self.context.out.error(&error);
                    self.refused = Some(error.code);
                }
                Line::Failed(error) => {
                    self.take(blobs).await?;
                    return Err(Failure::new(Code::Io, format!("cannot read the input: {error}")));
                }
            }
            if blobs.len() < BATCH_LINES && bytes < limits::BLOB_BYTES {
                next = lines.try_recv().ok();
            }
        }
        self.take(blobs).await
    }

    /// Pushes blobs, all or none, and tells it once they are durable.
    async fn take(&mut self, blobs: Vec<Vec<u8>>) -> Done {
        if blobs.is_empty() {
            return Ok(());
        }
        let receipts = self.client.push_many(self.channel, blobs).await?;
        self.pushed += receipts.len() as u64;
        if self.state.is_some() && self.late.is_none() {
            self.waiting.extend(receipts);
        } else {
            self.tell(&receipts, ReceiptState::Queued)?;
        }
        self.progress();
        Ok(())
    }

    /// The wait for the oldest blob that is not where it should be.
    fn reached(&self) -> Option<Reached> {
        let (receipt, state) = (*self.waiting.front()?, self.state?);
        let (client, timeout) = (self.client.clone(), self.context.timeout());
        Some(Box::pin(async move { client.wait(&receipt, state, timeout).await }))
    }

    /// The oldest is there, and those behind it that are, too; or nothing is waited for any more. As many as one batch
    /// brings, at the most, so that neither lines nor receipts wait for the other.
    async fn settle(&mut self, reached: Result<(), SyncError>) -> Done {
        match reached {
            Ok(()) => {
                let Some(state) = self.state else { return Ok(()) };
                let mut there = Vec::from_iter(self.waiting.pop_front());
                while there.len() < BATCH_LINES
                    && let Some(next) = self.waiting.front()
                    && self.client.receipt_state(next.id).await? >= state
                {
                    there.extend(self.waiting.pop_front());
                }
                self.tell(&there, state)?;
            }
            Err(error) => {
                self.give_up().await?;
                self.late = Some(error);
            }
        }
        self.progress();
        Ok(())
    }

    /// Waits for no more: what is pushed is pushed all the same, and whoever reads this has to know the ids.
    async fn give_up(&mut self) -> Done {
        for receipt in std::mem::take(&mut self.waiting) {
            let state = self.client.receipt_state(receipt.id).await?;
            self.tell(&[receipt], state)?;
        }
        Ok(())
    }

    /// Waits for the rest, and tells how it went.
    async fn drain(mut self) -> Done {
        while let Some(oldest) = self.reached() {
            tokio::select! {
                biased;
                () = self.context.stop.wait() => {
                    self.give_up().await?;
                    return Err(Failure::Interrupted);
                }
                done = oldest => self.settle(done).await?,
            }
        }
        let out = self.context.out;
        out.progress_over();
        if self.empty > 0 {
            out.note(format_args!("{} left out: a blob has at least one byte.", count(self.empty, "empty line")));
        }
        let state = match (&self.late, self.state) {
            (None, Some(ReceiptState::Accepted)) => ", and at the relay",
            (None, Some(ReceiptState::Delivered)) => ", and on every device",
            (None, _) => "; the other devices get what was pushed when they can be reached",
            (Some(_), _) => ", but not all are where they should be yet",
        };
        out.say(format_args!("{} pushed{state}.", count(self.pushed, "blob")))?;
        match (self.late, self.refused) {
            (Some(error), _) => Err(self.context.why(self.client, error).await.into()),
            (None, Some(code)) => Err(Failure::Told(code)),
            (None, None) => Ok(()),
        }
    }

    /// Programs are told of each blob, people of their number.
    fn tell(&self, receipts: &[Receipt], state: ReceiptState) -> Done {
        let events = receipts.iter().map(|r| Event::Pushed { id: r.id.to_string(), state: state.as_str() });
        self.context.out.tell_programs_all(events)
    }

    fn progress(&mut self) {
        if self.shown.is_none_or(|at| at.elapsed() >= SHOW) {
            self.shown = Some(Instant::now());
            let waiting = self.waiting.len() as u64;
            let rest = if waiting > 0 { format!(", {waiting} on their way") } else { String::new() };
            self.context.out.progress(format_args!("{} pushed{rest}", count(self.pushed, "blob")));
        }
    }
}

async fn wait_for(reached: &mut Option<Reached>) -> Result<(), SyncError> {
    match reached {
        Some(reached) => reached.await,
        None => std::future::pending().await,
    }
}

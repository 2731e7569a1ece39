//! `invite` and `join`: both sides of a pairing, each as the one that shows and as the one that takes.

use std::time::Duration;

use sync_client::{Code, Events, InviteOptions, Pairing, PairingEvent, SyncClient, SyncConfig, SyncError};
use sync_types::Invitation;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::Context;
use crate::cli::{Invite, Join};
use crate::clock::now_ms;
use crate::event::Event;
use crate::input::{self, Line};
use crate::out::{Done, Failure, plain};
use crate::qr::Drawing;

/// Lines below the QR code that have to stay on the screen with it: the countdown, the question, and the cursor's.
const BELOW: usize = 3;

/// How long nothing has to happen after a pairing until the newcomer has all that it asked for.
const QUIET: Duration = Duration::from_millis(1_500);

/// How long the other device may take to be told that this one gave up.
const PARTING: Duration = Duration::from_secs(2);

pub(super) async fn invite(context: &Context, arguments: Invite) -> Done {
    if let Some(invitation) = &arguments.invitation {
        check(invitation)?;
    }
    context
        .with(async |client| {
            let mut options = InviteOptions::with_ttl(Duration::from_secs(arguments.ttl));
            options.needs_code = arguments.code;
            let pairing = match &arguments.invitation {
                Some(invitation) => client.take(invitation).await?,
                None => client.invite(options).await?,
            };
            let relay = client.status().await?.relays.first().map(ToString::to_string).unwrap_or_default();
            let other = Other { command: "ksync join", behind_code: format!(" --relay {relay}") };
            let events = client.events();
            match Dialog::new(context, pairing, arguments.yes, arguments.code, other).run().await? {
                End::Added { device, name } => {
                    let group = client.status().await?.group.map(|id| id.to_string()).unwrap_or_default();
                    let words = format!("«{}» is in the group now.", plain(&name));
                    context.out.tell(&Event::Joined { group, device }, words)?;
                    hand_on(context, events).await;
                    Ok(())
                }
                End::Joined { group, device } => {
                    context.out.tell(&Event::Joined { group, device }, "Joined the group.")
                }
            }
        })
        .await
}

/// Stays until the newcomer has been handed what was pushed before: until nothing has happened for a while. What it lacks
/// then it gets from whoever is online next.
async fn hand_on(context: &Context, mut events: Events) {
    let quiet = async { while let Ok(Some(_)) = tokio::time::timeout(QUIET, events.next()).await {} };
    tokio::select! {
        _ = tokio::time::timeout(context.timeout(), quiet) => {}
        () = context.stop.wait() => {}
    }
}

pub(super) async fn join(context: &Context, arguments: Join) -> Done {
    let mut config = context.config_with(&arguments.setup).await?;
    if let Some(invitation) = &arguments.invitation {
        check(invitation)?;
    }
    let home = config.home_path()?;
    let fresh = !SyncClient::is_initialized(&home);
    if fresh {
        config.device_name.clone_from(&arguments.name);
    }
    let client = match context.client(&mut config).await {
        Ok(client) => client,
        Err(failure) => {
            return Err(undo(&config, fresh && failure.code() != Some(Code::HomeBusy), failure).await);
        }
    };
    let done = newcomer(context, &client, &config, &arguments).await;
    // Once the two have agreed, the member may be adding this device: then its key has to stay.
    let unchanged = client.status().await.is_ok_and(|status| !status.joining && status.group.is_none());
    client.close().await;
    match done {
        Err(failure) => Err(undo(&config, fresh && unchanged, failure).await),
        Ok(()) => Ok(()),
    }
}

/// Takes away the device that was made for a pairing that failed, so that nothing has changed.
async fn undo(config: &SyncConfig, made: bool, failure: Failure) -> Failure {
    if made {
        // The first failure is the one to tell.
        let _ = SyncClient::reset(config).await;
    }
    failure
}

/// The newcomer's side.
async fn newcomer(context: &Context, client: &SyncClient, config: &SyncConfig, arguments: &Join) -> Done {
    let name = arguments.name.as_deref();
    let pairing = match (&arguments.invitation, &config.relay) {
        (Some(invitation), _) => client.join(invitation, name).await,
        (None, Some(relay)) => client.join_show(relay, name).await,
        (None, None) => Err(SyncError::new(Code::InvalidArgument, "--show needs --relay")),
    };
    let other = Other { command: "ksync invite", behind_code: String::new() };
    match Dialog::new(context, pairing?, false, false, other).run().await? {
        End::Joined { group, device } => {
            context.out.tell(&Event::Joined { group, device }, "This device is in the group now.")?;
            // The member is online now, and may not be when the first pull runs. Joined it is in any case.
            context.catch_up(client).await.or(Ok(()))
        }
        End::Added { .. } => Err(Failure::new(Code::Internal, "a newcomer has added somebody")),
    }
}

/// What cannot be read is refused before anything is made or connected.
fn check(invitation: &str) -> Done {
    invitation.parse::<Invitation>().map(drop).map_err(|e| Failure::new(e.code(), e.to_string()))
}

enum End {
    Joined { group: String, device: String },
    Added { device: String, name: String },
}

/// What the person is being asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Nothing,
    /// The digits that the other device shows.
    Digits,
    /// Yes or no.
    Yes,
}

/// The command that takes on the other device what is shown on this one.
struct Other {
    command: &'static str,
    /// What a code does not say and a link does.
    behind_code: String,
}

/// The talk with the person during one pairing.
struct Dialog<'a> {
    context: &'a Context,
    pairing: Pairing,
    /// Say yes to everything.
    yes: bool,
    /// Show the short code alone: it is what was asked for.
    code_alone: bool,
    other: Other,
    question: Question,
    answers: Option<mpsc::Receiver<Line>>,
    /// When the link is over, as long as it is waited for somebody who takes it.
    until: Option<Instant>,
    /// Whether there is nobody left to be told that this side gives up.
    agreed: bool,
}

impl<'a> Dialog<'a> {
    fn new(context: &'a Context, pairing: Pairing, yes: bool, code_alone: bool, other: Other) -> Self {
        let question = Question::Nothing;
        Self { context, pairing, yes, code_alone, other, question, answers: None, until: None, agreed: false }
    }

    async fn run(&mut self) -> Done<End> {
        let mut ticks = ticks();
        loop {
            tokio::select! {
                biased;
                () = self.context.stop.wait() => {
                    self.context.out.progress_over();
                    if !self.agreed {
                        self.part().await;
                    }
                    return Err(Failure::Interrupted);
                }
                event = self.pairing.next() => {
                    let over = || Failure::new(Code::Closed, "the pairing ended without a word");
                    if let Some(end) = self.on(event.ok_or_else(over)?).await? {
                        return Ok(end);
                    }
                }
                answer = next(&mut self.answers), if self.question != Question::Nothing => self.answer(answer).await?,
                _ = ticks.tick(), if self.until.is_some() => self.countdown(),
            }
        }
    }

    async fn on(&mut self, event: PairingEvent) -> Done<Option<End>> {
        let out = self.context.out;
        if !matches!(event, PairingEvent::Uri { .. }) {
            out.progress_over();
        }
        if !matches!(event, PairingEvent::CodeOver(_)) {
            self.until = None;
        }
        match event {
            PairingEvent::Uri { uri, code, expires_at } => {
                let code = code.as_deref();
                out.tell(&Event::Invite { uri: &uri, code, expires_at }, self.shown(&uri, code))?;
                self.until = Some(Instant::now() + seconds_until(expires_at));
            }
            PairingEvent::CodeOver(error) => {
                let words = format!("The short code is worth nothing any more: {error} The link still works.");
                out.tell(&Event::CodeOver { code: error.code.as_str() }, words)?;
            }
            PairingEvent::Check(code) => {
                let words = format!("Type {code} on the other device.");
                out.tell(&Event::Check { code: &code }, words)?;
            }
            PairingEvent::TypeCheck => {
                out.say("A device answers. Type the four digits that it shows, or n to refuse:")?;
                self.ask(Question::Digits);
            }
            PairingEvent::Request { name, needs_check } => self.request(&name, needs_check).await?,
            PairingEvent::Agreed => {
                let words = "The other device has agreed. Waiting until it has added this one; if you stop here, that \
                             goes on at the next start.";
                self.agreed = true;
                out.tell(&Event::Agreed, words)?;
            }
            PairingEvent::Joined { group, device } => {
                return Ok(Some(End::Joined { group: group.to_string(), device: device.to_string() }));
            }
            PairingEvent::Added { device, name } => return Ok(Some(End::Added { device: device.to_string(), name })),
            PairingEvent::Failed(error) => return Err(error.into()),
        }
        Ok(None)
    }

    async fn request(&mut self, name: &str, needs_check: bool) -> Done {
        let shown = plain(name);
        let how = match (self.yes, needs_check) {
            (true, _) => "",
            (false, true) => " Type the four digits that it shows, or n to refuse:",
            (false, false) => " Type y to add it, or n to refuse:",
        };
        self.context.out.tell(&Event::Request { name }, format_args!("«{shown}» wants to join.{how}"))?;
        match (self.yes, needs_check) {
            (true, true) => self.pairing.consent_without_check().await?,
            (true, false) => self.pairing.consent(true).await?,
            (false, true) => self.ask(Question::Digits),
            (false, false) => self.ask(Question::Yes),
        }
        Ok(())
    }

    fn ask(&mut self, question: Question) {
        self.question = question;
        // Not before: whoever pairs without questions may use stdin for something else.
        self.answers.get_or_insert_with(|| input::lines(Box::new(std::io::stdin())));
    }

    async fn answer(&mut self, line: Option<Line>) -> Done {
        let text = match line {
            Some(Line::Text(text)) => String::from_utf8_lossy(&text).trim().to_lowercase(),
            // The end of the input is no answer, and no answer is a no.
            _ => return self.refuse("nobody answered").await,
        };
        let digits = text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
        match (self.question, text.as_str()) {
            (_, "n" | "no") => self.refuse("it was refused here").await,
            (Question::Yes, "y" | "yes") => {
                self.question = Question::Nothing;
                Ok(self.pairing.consent(true).await?)
            }
            (Question::Digits, _) if digits => self.digits(&text).await,
            (Question::Digits, _) => self.context.out.say("Four digits, or n to refuse:"),
            _ => self.context.out.say("y to add it, or n to refuse:"),
        }
    }

    async fn digits(&mut self, digits: &str) -> Done {
        match self.pairing.type_check(digits).await {
            Ok(()) => {
                self.question = Question::Nothing;
                Ok(())
            }
            Err(error) if error.code == Code::WrongCode => {
                self.context.out.error(&error);
                self.context.out.say("One more try:")
            }
            // The pairing is over, and the other device is being told: its last event says why.
            Err(error) if error.code == Code::TooManyTries => {
                self.question = Question::Nothing;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn refuse(&mut self, why: &str) -> Done {
        self.part().await;
        Err(Failure::new(Code::PairingRefused, why))
    }

    /// Gives up, and stays until the other device has been told.
    async fn part(&mut self) {
        let told = async {
            self.pairing.cancel().await;
            while self.pairing.next().await.is_some() {}
        };
        // A relay that has gone away is why nobody can be told.
        let _ = tokio::time::timeout(PARTING, told).await;
    }

    /// Link and code in words, and the link as a QR code where the terminal has room for it.
    fn shown(&self, uri: &str, code: Option<&str>) -> String {
        let Other { command, behind_code } = &self.other;
        if let Some(code) = code.filter(|_| self.code_alone) {
            return format!("On the other device, run:\n\n{command} {code}{behind_code}\n");
        }
        let typed = code.map(|code| format!("\nor:\n\n{command} {code}{behind_code}\n")).unwrap_or_default();
        let text = format!("On the other device, run:\n\n{command} {uri}\n{typed}");
        if !self.context.out.to_a_terminal() {
            return text;
        }
        let size = terminal_size::terminal_size_of(std::io::stdout());
        let size = size.map_or((80, 24), |(width, height)| (usize::from(width.0), usize::from(height.0)));
        // The code stands below the QR code too: what is above may have left the screen.
        let below = BELOW + usize::from(code.is_some());
        match Drawing::new(uri) {
            Some(drawing) if drawing.fits(size, below) => {
                let drawn = drawing.coloured();
                let again = code.map(|code| format!("\nOr type there: {code}")).unwrap_or_default();
                let text = text.replacen("run:", "scan the QR code or run:", 1);
                format!("{text}\n{}{again}", drawn.trim_end())
            }
            Some(drawing) => {
                let (columns, rows) = drawing.size();
                text + &format!("(The QR code needs a window of {columns} columns and {} rows.)", rows + below)
            }
            None => text,
        }
    }

    fn countdown(&self) {
        let Some(until) = self.until else { return };
        let left = until.saturating_duration_since(Instant::now()).as_secs();
        self.context.out.progress(format_args!("Waiting for the other device: {}:{:02} left", left / 60, left % 60));
    }
}

async fn next(answers: &mut Option<mpsc::Receiver<Line>>) -> Option<Line> {
    match answers {
        Some(answers) => answers.recv().await,
        None => std::future::pending().await,
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

fn seconds_until(unix: u64) -> Duration {
    Duration::from_secs(unix).saturating_sub(Duration::from_millis(now_ms()))
}

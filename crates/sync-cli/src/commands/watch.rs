//! `run`: stays connected and tells what happens.

use sync_client::{Alert, AlertKind, ClientEvent, Code, Status, SyncClient, SyncError};
use tokio::sync::mpsc;

use super::Context;
use crate::cli::Run;
use crate::event::Event;
use crate::input::{self, Line};
use crate::out::{Done, Failure};
use crate::words;

pub(super) async fn run(context: &Context, arguments: &Run) -> Done {
    let config = context.config()?.in_background(arguments.background);
    let mut control = arguments.control.then(|| input::lines(Box::new(std::io::stdin())));
    context
        .with_config(config, async |client| {
            // Before the status, so that nothing falls in between.
            let mut events = client.events();
            let status = client.status().await?;
            context.out.tell(&Event::from(&status), words::status(&status))?;
            // What nobody was there to hear. Whoever reads this may be a file, so that it counts as unseen still.
            let alerts = client.alerts().await?;
            for alert in alerts.iter().rev().filter(|alert| !alert.seen) {
                context.out.tell(&Event::from(alert), words::alert(alert))?;
            }
            // That happened before, or as soon as the client was there and nobody was listening yet.
            if let Some(out) = alerts.iter().find(|alert| is_out(&status, alert)) {
                return Err(Failure::new(Code::Removed, out.text()));
            }
            loop {
                tokio::select! {
                    event = events.next() => match event {
                        Some(event) => tell(context, &event)?,
                        None => return Err(Failure::new(Code::Closed, "the client was closed")),
                    },
                    Some(line) = next(&mut control) => tokio::select! {
                        done = obey(context, client, &line) => done?,
                        () = context.stop.wait() => return Ok(()),
                    },
                    () = context.stop.wait() => return Ok(()),
                }
            }
        })
        .await
}

async fn next(control: &mut Option<mpsc::Receiver<Line>>) -> Option<Line> {
    match control {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}

/// Does what a line of stdin says. What cannot be done is told, and ends nothing.
async fn obey(context: &Context, client: &SyncClient, line: &Line) -> Done {
    let word = match line {
        Line::Text(text) => String::from_utf8_lossy(text).trim().to_owned(),
        Line::TooLong | Line::Failed(_) => String::new(),
    };
    let done = match word.as_str() {
        "foreground" => client.foreground().await,
        "background" => client.background().await,
        "wake" => match client.wake(context.timeout()).await {
            Ok(woken) => return context.out.tell(&Event::from(woken), words::woken(woken)),
            Err(error) => Err(error),
        },
        _ => Err(SyncError::new(Code::InvalidArgument, "stdin takes foreground, background and wake, a word a line")),
    };
    if let Err(error) = done {
        context.out.error(&error);
    }
    Ok(())
}

/// Whether this alert says why this device is in no group of which anything could be heard.
fn is_out(status: &Status, alert: &Alert) -> bool {
    match alert.kind {
        AlertKind::Wiped => status.group.is_none() && !alert.seen,
        AlertKind::Removed => {
            let removed = status.trouble.as_ref().is_some_and(|trouble| trouble.code == Code::Removed);
            removed && alert.device.as_ref().is_some_and(|device| device.own)
        }
        _ => false,
    }
}

/// Tells what happened; an error if nothing more can come of staying.
pub(super) fn tell(context: &Context, event: &ClientEvent) -> Done {
    removed(event)?;
    match (Event::of(event), words::event(event)) {
        (Some(event), Some(words)) => context.out.tell(&event, words),
        (Some(event), None) => context.out.tell_programs(&event),
        _ => Ok(()),
    }
}

/// The error for a device that has been removed from its group.
pub(super) fn removed(event: &ClientEvent) -> Done {
    match event {
        ClientEvent::Removed { by, lost, recovered } => {
            let end = match (lost, recovered) {
                (true, _) => " as lost: what it holds is deleted",
                (_, true) => ", which came back by the recovery kit and removed all others",
                _ => "",
            };
            let message = format!("this device was removed from its group by {}{end}", words::device(by));
            Err(Failure::new(Code::Removed, message))
        }
        _ => Ok(()),
    }
}

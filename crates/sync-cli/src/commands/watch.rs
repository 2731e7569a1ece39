//! `run`: stays connected and tells what happens.

use sync_client::{Alert, AlertKind, ClientEvent, Code, Status};

use super::Context;
use crate::event::Event;
use crate::out::{Done, Failure};
use crate::words;

pub(super) async fn run(context: &Context) -> Done {
    context
        .with(async |client| {
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
                    () = context.stop.wait() => return Ok(()),
                }
            }
        })
        .await
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

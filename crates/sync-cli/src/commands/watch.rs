//! `run`: stays connected and tells what happens.

use sync_client::{ClientEvent, Code};

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
            for alert in client.alerts().await?.iter().rev().filter(|alert| !alert.seen) {
                context.out.tell(&Event::from(alert), words::alert(alert))?;
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

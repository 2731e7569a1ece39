//! `alerts`: what happened to the group's devices.

use super::Context;
use crate::cli::Alerts;
use crate::event::Event;
use crate::out::Done;
use crate::words;

/// Prints them, the oldest first, and notes that they were seen: what could not be printed comes again.
pub(super) async fn alerts(context: &Context, arguments: Alerts) -> Done {
    context
        .with(async |client| {
            context.refresh(client).await?;
            let all = client.alerts().await?;
            let wanted: Vec<_> = all.iter().rev().filter(|alert| arguments.all || !alert.seen).collect();
            for alert in &wanted {
                context.out.tell(&Event::from(*alert), words::alert(alert))?;
            }
            match wanted.last() {
                Some(last) => Ok(client.alerts_seen(last.number).await?),
                None if arguments.all => context.out.say("Nothing has happened to this group's devices yet."),
                None => context.out.say("Nothing new. `ksync alerts --all` shows what was there before."),
            }
        })
        .await
}

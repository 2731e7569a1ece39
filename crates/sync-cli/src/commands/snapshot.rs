//! `snapshot`: one blob in the place of what `pull` has printed of a channel.

use sync_client::{ClientEvent, Code, Events, limits};

use super::pull::CONSUMER;
use super::{Context, watch};
use crate::cli::Snapshot;
use crate::event::Event;
use crate::input;
use crate::out::{Done, Failure};
use crate::words::count;

pub(super) async fn snapshot(context: &Context, arguments: Snapshot) -> Done {
    context
        .with(async |client| {
            let input = input::open(&arguments.file)?;
            let data = tokio::select! {
                data = input::whole(input, limits::LARGE_BLOB_BYTES) => data?,
                () = context.stop.wait() => return Err(Failure::Interrupted),
            };
            let mut events = client.events();
            let up_to = client.position(CONSUMER, &arguments.channel).await?;
            let receipt = client.snapshot(&arguments.channel, data, up_to).await?;
            let status = client.status().await?;
            let words = match receipt.replaced {
                0 if status.kit_snapshots => "Nothing was pulled that it could stand for: it is kept for the recovery kit alone.".to_owned(),
                0 => "Nothing was pulled that it could stand for, so nothing was changed. Pull first.".to_owned(),
                replaced => format!("It stands for {} from now on.", count(replaced, "blob")),
            };
            context.out.tell(&Event::Snapshot { id: receipt.id.to_string(), replaced: receipt.replaced }, words)?;
            if !status.recovery_kit || !status.kit_snapshots {
                return Ok(());
            }
            tokio::select! {
                left = tokio::time::timeout(context.timeout(), left_for_kit(&mut events, &arguments.channel)) => match left {
                    Ok(event) => watch::tell(context, &event?),
                    Err(_) => {
                        context.out.note("The relay has not answered yet. It gets the snapshot once this device has connected: `ksync run`.");
                        Ok(())
                    }
                },
                () = context.stop.wait() => Err(Failure::Interrupted),
            }
        })
        .await
}

/// What the relay says of this channel's snapshot.
async fn left_for_kit(events: &mut Events, of: &str) -> Done<ClientEvent> {
    loop {
        match events.next().await {
            Some(event @ ClientEvent::LeftForKit { .. }) => {
                if matches!(&event, ClientEvent::LeftForKit { channel, .. } if channel == of) {
                    return Ok(event);
                }
            }
            Some(_) => {}
            None => return Err(Failure::new(Code::Closed, "the client was closed")),
        }
    }
}

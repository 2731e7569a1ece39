//! `snapshot`: one blob in the place of what `pull` has printed of a channel.

use super::Context;
use super::pull::CONSUMER;
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
                data = input::whole(input) => data?,
                () = context.stop.wait() => return Err(Failure::Interrupted),
            };
            let up_to = client.position(CONSUMER, &arguments.channel).await?;
            let receipt = client.snapshot(&arguments.channel, data, up_to).await?;
            let words = match receipt.replaced {
                0 => "Nothing was pulled that it could stand for, so nothing was changed. Pull first.".to_owned(),
                replaced => format!("It stands for {} from now on.", count(replaced, "blob")),
            };
            context.out.tell(&Event::Snapshot { id: receipt.id.to_string(), replaced: receipt.replaced }, words)
        })
        .await
}

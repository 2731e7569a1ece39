//! `skip`: what a large blob holds up goes on without it.

use super::Context;
use crate::cli::Skip;
use crate::event::Event;
use crate::out::Done;

pub(super) async fn skip(context: &Context, Skip { id }: Skip) -> Done {
    context
        .with(async |client| {
            client.skip(id).await?;
            let words = "This device waits for it no more: `ksync pull` prints what is behind it.".to_owned();
            context.out.tell(&Event::Skipped { id: id.to_string() }, words)
        })
        .await
}

//! A stream that carries content: one question of a member, its answer, and the content itself.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use sync_content::{ContentError, Incoming, Outgoing};
use sync_types::frame::{self, About, Content, ContentAnswer, FromRelay};
use sync_types::{Code, DeviceId, GroupId};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use super::{Shared, framing, stopped};
use crate::content::{Asker, Contents, Next};
use crate::mailbox::{Proof, Refusal};

/// How often it is looked whether who is handed content is a member still.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Answers, and hands over.
pub(super) async fn serve(shared: &Shared, request: Content, proof: Proof, (from, mut to): (Incoming, Outgoing)) {
    let attach = request.attach.clone();
    let whom = (attach.group, attach.device);
    let (answer, next) = match begin(shared, request, proof).await {
        Ok((contents, next)) => {
            let answer = match &next {
                Next::Say(answer) => *answer,
                Next::Take(_) => ContentAnswer::Wanted,
                Next::Give(..) => ContentAnswer::Given,
            };
            (FromRelay::Content(answer), Some((contents, next)))
        }
        Err(refusal) => {
            tracing::debug!(code = %refusal.code, "refused");
            shared.metrics.refused(refusal.code);
            (refusal.frame(), None)
        }
    };
    let limit = shared.limits.write_timeout;
    let told = framing::write(&mut to, &frame::write(&answer), limit).await;
    let told = match told {
        Ok(()) => to.flush().await,
        Err(error) => Err(error),
    };
    let handed = async {
        match next {
            Some((contents, Next::Take(coming))) => contents.take(coming, from, to).await,
            Some((contents, Next::Give(content, _place))) => contents.give(content, from, to).await,
            Some((_, Next::Say(_))) | None => {
                let _ = timeout(limit, to.shutdown()).await;
                Ok(())
            }
        }
    };
    if told.is_err() {
        return;
    }
    let mut stopping = shared.stopping.subscribe();
    tokio::select! {
        handed = handed => note(handed),
        () = until_out(shared, &attach, &proof) => tracing::debug!(?whom, "no member any more"),
        () = stopped(&mut stopping) => {}
    }
}

/// Until the device is no member any more.
async fn until_out(shared: &Shared, attach: &frame::Attach, proof: &Proof) {
    loop {
        sleep(LOOK_AGAIN).await;
        match shared.hub.readers(attach.clone(), *proof).await {
            Err(refusal) if matches!(refusal.code, Code::NotMember | Code::Removed | Code::UnknownGroup) => return,
            // Stopping ends it elsewhere.
            Err(refusal) if refusal.code == Code::Draining => return pending().await,
            _ => {}
        }
    }
}

async fn begin(shared: &Shared, request: Content, proof: Proof) -> Result<(&Arc<Contents>, Next), Refusal> {
    let none = || Refusal::new(About::Session, Code::ContentUnavailable, "this relay keeps no large content");
    let (group, device): (GroupId, DeviceId) = (request.attach.group, request.attach.device);
    let members = shared.hub.readers(request.attach, proof).await?;
    let contents = shared.contents.as_ref().ok_or_else(none)?;
    let at_ms = shared.store.served().await.map_err(|e| Refusal::of_store(About::Session, &e))?;
    let next = contents.ask(Asker { group, device, members, at_ms }, request.ask).await?;
    Ok((contents, next))
}

fn note(handed: Result<(), ContentError>) {
    match handed {
        Ok(()) => {}
        Err(error @ ContentError::Source(_)) => tracing::debug!(%error, "content was not handed over to its end"),
        Err(error) => tracing::warn!(%error, "content was not handed over"),
    }
}

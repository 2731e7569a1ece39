//! `suite`: what the group's cryptography is made of, and moving the group to another.

use sync_client::{ClientEvent, Code, Status, SyncClient, SyncError};

use super::Context;
use crate::cli;
use crate::event::Event;
use crate::out::{Done, Failure};
use crate::words;

pub(super) async fn suite(context: &Context, arguments: &cli::Suite) -> Done {
    context
        .with(async |client| {
            context.refresh(client).await?;
            match arguments.suite {
                None => show(context, &client.status().await?),
                Some(suite) => go(context, client, suite).await,
            }
        })
        .await
}

fn show(context: &Context, status: &Status) -> Done {
    let line = Event::suite(status).ok_or_else(|| Failure::new(Code::NotInGroup, "this device is in no group"))?;
    context.out.tell(&line, words::suite(status))
}

async fn go(context: &Context, client: &SyncClient, number: u8) -> Done {
    let wanted =
        sync_client::Suite::from_wire(number).map_err(|code| Failure::new(code, "there is no suite of that number"))?;
    let before = client.status().await?;
    if before.suite == Some(wanted) {
        // Takes back a move that waits.
        client.move_to_suite(wanted).await?;
        return show(context, &client.status().await?);
    }
    if before.recovery_kit {
        let question = "The group's recovery kit ends with the move, and its words are worth nothing then: make a new one \
                        when it is done.";
        context.confirm(question).await?;
    }
    let mut events = client.events();
    client.move_to_suite(wanted).await?;
    let wait = async {
        loop {
            let status = client.status().await?;
            if status.suite == Some(wanted) {
                show(context, &status)?;
                if before.recovery_kit {
                    context.out.note("The recovery kit was the old suite's: make a new one with ksync recovery-kit.");
                }
                return Ok(());
            }
            let Some(event) = events.next().await else {
                return Err(Failure::new(Code::Closed, "the client was closed"));
            };
            match event {
                ClientEvent::ChangeFailed { device, code } if Some(device.id) == before.device => {
                    return Err(Failure::new(code, "the group did not move"));
                }
                _ => {}
            }
        }
    };
    tokio::select! {
        done = tokio::time::timeout(context.timeout(), wait) => match done {
            Ok(done) => done,
            Err(_) => {
                let late = SyncError::new(Code::Timeout, "the move is stored and goes on by itself, but it is not done yet");
                let error = context.why(client, late).await;
                context.out.aside(words::suite(&client.status().await?));
                Err(error.into())
            }
        },
        () = context.stop.wait() => Err(Failure::Interrupted),
    }
}

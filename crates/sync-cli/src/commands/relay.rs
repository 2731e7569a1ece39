//! `relay`: the group's relays, and changing the list.

use sync_client::{ClientEvent, Code, RelayAddress, SyncClient, SyncError};

use super::{Context, own_relay};
use crate::cli::{Relay, RelayAction};
use crate::event::Event;
use crate::out::{Done, Failure};
use crate::words;

pub(super) async fn relay(context: &Context, arguments: Relay) -> Done {
    match arguments.action {
        RelayAction::List => context.with(async |client| list(context, client).await).await,
        RelayAction::Set { relays } => context.with(async |client| set(context, client, &relays).await).await,
        RelayAction::Up(arguments) => own_relay::up(context, arguments).await,
        RelayAction::Drop { relay, dead } => {
            context.with(async |client| drop_relay(context, client, &relay, dead).await).await
        }
    }
}

async fn list(context: &Context, client: &SyncClient) -> Done {
    context.refresh(client).await?;
    let relays = client.relays().await?;
    if relays.is_empty() {
        return Err(Failure::new(Code::NotInGroup, "this device is in no group"));
    }
    for relay in &relays {
        context.out.tell(&Event::from(relay), words::relay(relay))?;
    }
    Ok(())
}

async fn set(context: &Context, client: &SyncClient, relays: &[String]) -> Done {
    let read = |text: &String| text.parse().map_err(|e| Failure::new(Code::AddressInvalid, format!("{text}: {e}")));
    let relays: Vec<RelayAddress> = relays.iter().map(read).collect::<Result<_, _>>()?;
    context.refresh(client).await?;
    change(context, client, &relays, false).await
}

async fn drop_relay(context: &Context, client: &SyncClient, relay: &str, dead: bool) -> Done {
    let gone: RelayAddress = relay.parse().map_err(|e| Failure::new(Code::AddressInvalid, format!("{e}")))?;
    context.refresh(client).await?;
    let before: Vec<RelayAddress> = client.relays().await?.into_iter().map(|relay| relay.address).collect();
    let Some(place) = before.iter().position(|known| *known == gone.without_token()) else {
        return Err(Failure::new(Code::InvalidArgument, "the group has no such relay: see ksync relay list"));
    };
    if dead && place != 0 {
        return Err(Failure::new(
            Code::InvalidArgument,
            "only the first relay is given up as dead; drop this one without",
        ));
    }
    let rest: Vec<RelayAddress> = before.into_iter().filter(|known| *known != gone.without_token()).collect();
    if rest.is_empty() {
        return Err(Failure::new(Code::InvalidArgument, "it is the group's only relay: set another one instead"));
    }
    if dead {
        let question =
            "This gives the first relay up for good. Devices that only it has added have to be paired again.";
        context.confirm(question).await?;
    }
    change(context, client, &rest, dead).await
}

pub(super) async fn change(context: &Context, client: &SyncClient, relays: &[RelayAddress], dead: bool) -> Done {
    let wanted: Vec<RelayAddress> = relays.iter().map(RelayAddress::without_token).collect();
    let now = async || -> Done<Vec<RelayAddress>> {
        Ok(client.relays().await?.into_iter().map(|relay| relay.address).collect())
    };
    if now().await? == wanted {
        return list(context, client).await;
    }
    let mut events = client.events();
    if dead {
        client.give_up_first_relay().await?;
    } else {
        client.set_relays(relays.to_vec()).await?;
    }
    let wait = async {
        while let Some(event) = events.next().await {
            match event {
                ClientEvent::RelaysChanged { .. } | ClientEvent::Lagged(_) if now().await? == wanted => {
                    for relay in &client.relays().await? {
                        context.out.tell(&Event::from(relay), words::relay(relay))?;
                    }
                    return Ok(());
                }
                ClientEvent::ChangeFailed { device, code } if Some(device.id) == client.status().await?.device => {
                    return Err(Failure::new(code, "the group did not take the list"));
                }
                _ => {}
            }
        }
        Err(Failure::new(Code::Closed, "the client was closed"))
    };
    tokio::select! {
        done = tokio::time::timeout(context.timeout(), wait) => match done {
            Ok(done) => done,
            Err(_) => {
                let late = SyncError::new(Code::Timeout, "the change is stored and goes on by itself, but it is not done yet");
                let error = context.why(client, late).await;
                context.out.aside("The change is stored, and is done as soon as the first relay can be reached.");
                Err(error.into())
            }
        },
        () = context.stop.wait() => Err(Failure::Interrupted),
    }
}

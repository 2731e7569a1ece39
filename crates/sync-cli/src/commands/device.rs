//! The device itself and its group: init, leave, reset, devices, status, doctor.

use sync_client::{ClientEvent, Code, DeviceId, DeviceInfo, Exit, GroupId, RecoveryWords, SyncClient, SyncConfig};

use super::{Context, recovery};
use crate::cli::{Devices, DevicesAction, Init};
use crate::event::{Device, Event};
use crate::out::{Done, Failure};
use crate::words;

pub(super) async fn init(context: &Context, arguments: Init) -> Done {
    let config = context.config_with(&arguments.setup).await?.device_name(arguments.name);
    let home = config.home_path()?;
    if SyncClient::is_initialized(&home) {
        return Err(Failure::new(Code::AlreadyInitialized, format!("there is a device in {}", home.display())));
    }
    let made = async {
        let client = SyncClient::new(config.clone()).await?;
        let group = found(context, &client, arguments.recovery_kit).await;
        client.close().await;
        group
    };
    let ((group, device), kit) = match made.await {
        Ok(made) => made,
        Err(failure) => {
            // Another process that makes a device here has the home; everything else leaves nothing behind.
            if failure.code() != Some(Code::HomeBusy) {
                let _ = SyncClient::reset(&config).await;
            }
            return Err(failure);
        }
    };
    let (group, device) = (group.to_string(), device.to_string());
    let words = format!(
        "A device is set up in {}.\nIts id is {device}, and it has a group of its own.\n\
         `ksync invite` brings another device into it; `ksync join LINK` goes over to another group.",
        home.display()
    );
    context.out.tell(&Event::Initialized { group, device }, words)?;
    match kit {
        Some(kit) => recovery::show(context, &kit),
        None => Ok(()),
    }
}

async fn found(
    context: &Context,
    client: &SyncClient,
    with_kit: bool,
) -> Done<((GroupId, DeviceId), Option<RecoveryWords>)> {
    let kit = if with_kit { Some(recovery::found(context, client).await?) } else { None };
    Ok((client.ensure_group().await?, kit))
}

pub(super) async fn leave(context: &Context) -> Done {
    context
        .with(async |client| {
            let before = client.status().await?;
            if before.joining {
                context.confirm("This gives up waiting to be added. Blobs that are here stay.").await?;
                client.leave().await?;
                let words =
                    "This device no longer waits to be added. If it has been already, remove it on another device.";
                return context.out.tell(&Event::GaveUpJoining, words);
            }
            let question = "This leaves the group and deletes its keys and blobs here. What no relay has yet is lost.";
            context.confirm(question).await?;
            client.leave().await?;
            let id = |id: Option<String>| id.unwrap_or_default();
            let group = id(before.group.map(|id| id.to_string()));
            let device = id(before.device.map(|id| id.to_string()));
            let words = "This device has left its group. Its next push or invite makes a new one.";
            context.out.tell(&Event::Left { group, device }, words)
        })
        .await
}

pub(super) async fn reset(context: &Context) -> Done {
    let mut config = SyncConfig::default();
    config.home = context.global.home.clone();
    let home = config.home_path()?;
    // Resetting nothing is a mistyped folder more often than a wish.
    if !home.is_dir() {
        return Err(Failure::new(Code::NotInitialized, format!("there is no device in {}", home.display())));
    }
    context.confirm(&format!("This deletes the device in {}: its keys and its blobs.", home.display())).await?;
    SyncClient::reset(&config).await?;
    let words = "The device is deleted. The others still list it until one of them removes it.";
    context.out.tell(&Event::Reset, words)
}

pub(super) async fn status(context: &Context) -> Done {
    context
        .with(async |client| {
            context.refresh(client).await?;
            let status = client.status().await?;
            context.out.tell(&Event::from(&status), words::status(&status))
        })
        .await
}

pub(super) async fn doctor(context: &Context) -> Done {
    context
        .with(async |client| {
            context.refresh(client).await?;
            for finding in client.doctor().await? {
                context.out.tell(&Event::from(&finding), words::finding(&finding))?;
            }
            Ok(())
        })
        .await
}

pub(super) async fn devices(context: &Context, arguments: Devices) -> Done {
    context
        .with(async |client| match arguments.action {
            None => list(context, client).await,
            Some(DevicesAction::Remove { id, lost }) => remove(context, client, &id, lost).await,
        })
        .await
}

async fn list(context: &Context, client: &SyncClient) -> Done {
    context.refresh(client).await?;
    let devices = client.devices().await?;
    if devices.is_empty() {
        return Err(Failure::new(Code::NotInGroup, "this device is in no group"));
    }
    for device in &devices {
        context.out.tell(&Event::Device(Device::from(device)), words::member(device))?;
    }
    Ok(())
}

async fn remove(context: &Context, client: &SyncClient, id: &str, lost: bool) -> Done {
    // The list may have grown since.
    context.refresh(client).await?;
    let id = named(&client.devices().await?, id)?;
    let mut events = client.events();
    if lost {
        client.remove_lost_device(id).await?;
    } else {
        client.remove_device(id).await?;
    }
    let wait = async {
        while let Some(event) = events.next().await {
            match event {
                ClientEvent::DeviceRemoved { device, by, exit } if device.id == id => {
                    let more = match exit {
                        Exit::Lost => " It deletes what it holds when it next connects.",
                        _ if lost => " Another device removed it first, and not as lost: it keeps what it holds.",
                        _ => "",
                    };
                    let words = format!("{} is no longer in the group.{more}", words::device(&device));
                    let event =
                        Event::DeviceRemoved { device: (&device).into(), by: (&by).into(), exit: words::exit(exit) };
                    return context.out.tell(&event, words);
                }
                ClientEvent::ChangeFailed { device, code } if device.id == id => {
                    return Err(Failure::new(code, format!("{} could not be removed", words::device(&device))));
                }
                // One that was missed may have been the one: the list knows.
                ClientEvent::Lagged(_) if client.devices().await?.iter().all(|d| d.id != id) => {
                    return context.out.say("It is no longer in the group.");
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
                let late = sync_client::SyncError::new(Code::Timeout, "the removal is stored and goes on by itself, but it");
                let error = context.why(client, late).await;
                context.out.aside("The removal is stored, and is done as soon as the relay can be reached.");
                Err(error.into())
            }
        },
        () = context.stop.wait() => Err(Failure::Interrupted),
    }
}

/// The device whose id begins so.
fn named(devices: &[DeviceInfo], text: &str) -> Done<DeviceId> {
    let wanted = text.to_ascii_lowercase();
    let fits: Vec<_> = devices.iter().filter(|d| d.id.to_string().starts_with(&wanted)).collect();
    match fits[..] {
        [one] if !wanted.is_empty() => Ok(one.id),
        [] => Err(Failure::new(Code::UnknownDevice, format!("no device in the group has the id {text}"))),
        _ => Err(Failure::new(Code::UnknownDevice, format!("several devices have ids that begin with {text}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_is_enough_if_only_one_has_it() {
        let device = |byte| DeviceInfo { id: DeviceId([byte; 16]), name: None, own: false, last_seen: None };
        let list = [device(0xa1), device(0xa2), device(0xb1)];
        assert_eq!(named(&list, "B").unwrap(), list[2].id);
        assert_eq!(named(&list, &list[0].id.to_string()).unwrap(), list[0].id);
        for bad in ["a", "", "c", "zz"] {
            assert_eq!(named(&list, bad).unwrap_err().code(), Some(Code::UnknownDevice), "{bad}");
        }
    }
}

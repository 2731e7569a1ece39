//! The recovery kit: every device is lost, and 24 words on paper lead back; and what leads nowhere.

use std::time::Duration;

use sync_client::{ClientEvent, Code, ReceiptState, RecoveryWords, Setting, SyncClient};

use crate::support::*;

async fn recover(world: &World, name: &str, kit: &RecoveryWords) -> Result<SyncClient, Code> {
    let client = world.device(name).await;
    match client.recover(&kit.words, &kit.relay, None, SOON).await {
        Ok(_) => Ok(client),
        Err(error) => {
            let status = client.status().await.unwrap();
            assert!(status.group.is_none() && !status.joining, "nothing was changed: {status:?}");
            client.close().await;
            Err(error.code)
        }
    }
}

async fn online(client: &SyncClient) {
    client.catch_up(SOON).await.unwrap();
}

fn changed(event: &ClientEvent) -> Option<Option<String>> {
    match event {
        ClientEvent::SettingsChanged { setting: Setting::RecoveryKit, by } => Some(by.name.clone()),
        _ => None,
    }
}

/// Waits until the device has told the relay what it has to say, which nothing answers.
async fn settled(client: &SyncClient) {
    let receipt = client.push("settled").await.unwrap();
    client.wait(&receipt, ReceiptState::Accepted, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_lead_back_when_every_device_is_lost() {
    let world = World::new(Way::Quic).await;
    let a = world.device("a").await;
    let kit = a.make_recovery_kit().await.unwrap();
    assert_eq!(kit.words.split(' ').count(), 24);
    assert!(!format!("{kit:?}").contains(kit.words.split(' ').next().unwrap()));
    let b = world.device("b").await;
    pair(&a, &b).await;
    let group = a.status().await.unwrap().group;
    settled(&b).await;
    for device in [a, b] {
        let status = device.status().await.unwrap();
        assert!(status.recovery_kit && status.vouches, "{status:?}");
        device.close().await;
    }

    let c = recover(&world, "c", &kit).await.unwrap();
    let status = c.status().await.unwrap();
    assert_eq!((status.group, status.devices.len()), (group, 1));
    online(&c).await;
    let findings = c.doctor().await.unwrap();
    assert!(findings.iter().any(|f| f.title == "history is lost"), "{findings:?}");

    // The group goes on: what is pushed arrives at whoever is paired now, and all of it is handed on.
    c.push("after the fire").await.unwrap();
    let d = world.device("d").await;
    pair(&c, &d).await;
    assert_eq!(receive_texts(&d, 1).await, ["after the fire"]);
    let back = d.push("from d").await.unwrap();
    d.wait(&back, ReceiptState::Delivered, SOON).await.unwrap();
    assert_eq!(receive_texts(&c, 1).await, ["from d"]);
    assert!(d.status().await.unwrap().vouches);

    // The same words lead back once more, whoever was the last to change the group.
    settled(&d).await;
    c.close().await;
    d.close().await;
    let e = recover(&world, "e", &kit).await.unwrap();
    assert_eq!(e.status().await.unwrap().group, group);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_live_are_told_why_they_are_out() {
    let world = World::new(Way::Quic).await;
    let a = world.device("a").await;
    let kit = a.make_recovery_kit().await.unwrap();
    let b = world.device("b").await;
    pair(&a, &b).await;
    settled(&a).await;
    settled(&b).await;
    let (mut of_a, mut of_b) = (a.events(), b.events());
    let c = recover(&world, "c", &kit).await.unwrap();
    for events in [&mut of_a, &mut of_b] {
        let back = |e: &ClientEvent| matches!(e, ClientEvent::DeviceRecovered { .. }).then_some(());
        event("the device that came back", events, back).await;
        let out = |e: &ClientEvent| match e {
            ClientEvent::Removed { lost, recovered, .. } => Some((*lost, *recovered)),
            _ => None,
        };
        assert_eq!(event("the removal", events, out).await, (false, true));
    }
    assert_eq!(a.push("too late").await.unwrap_err().code, Code::Removed);
    assert_eq!(c.devices().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_gets_a_kit_later_and_a_new_one_makes_the_old_one_worthless() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    online(&a).await;
    let mut of_b = b.events();
    let first = a.make_recovery_kit().await.unwrap();
    assert_eq!(event("the first kit", &mut of_b, changed).await.as_deref(), Some("a"));
    // B has seen the words, and is put out. What it saw is worth nothing once there is another kit.
    let id = b.status().await.unwrap().device.unwrap();
    let mut of_a = a.events();
    a.remove_device(id).await.unwrap();
    let gone = |e: &ClientEvent| matches!(e, ClientEvent::DeviceRemoved { .. }).then_some(());
    event("the removal", &mut of_a, gone).await;
    b.close().await;
    let second = a.make_recovery_kit().await.unwrap();
    assert_ne!(first.words, second.words);
    settled(&a).await;
    a.close().await;

    assert_eq!(recover(&world, "old", &first).await.err(), Some(Code::KitReplaced));
    let c = recover(&world, "new", &second).await.unwrap();
    assert!(c.status().await.unwrap().recovery_kit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_learns_what_it_needs_and_vouches_too() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    online(&a).await;
    b.close().await;
    let kit = a.make_recovery_kit().await.unwrap();
    settled(&a).await;
    let b = world.device("b").await;
    let mut events = b.events();
    online(&b).await;
    if !b.status().await.unwrap().vouches {
        event("what members hold of the kit", &mut events, |e| matches!(e, ClientEvent::Arrived).then_some(())).await;
    }
    soon("B to know the kit", async {
        while !b.status().await.unwrap().vouches {
            tokio::task::yield_now().await
        }
    })
    .await;
    // B changes the group last, and it is B's word that the kit finds.
    let of_a = a.status().await.unwrap().device.unwrap();
    a.close().await;
    let mut events = b.events();
    b.remove_device(of_a).await.unwrap();
    event("the removal", &mut events, |e| matches!(e, ClientEvent::DeviceRemoved { .. }).then_some(())).await;
    settled(&b).await;
    let told = b.doctor().await.unwrap();
    assert!(told.iter().any(|f| f.detail.contains("a changed the group's recovery kit")), "{told:?}");
    b.close().await;
    recover(&world, "c", &kit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_kit_of_a_group_here_is_refused_by_name() {
    let world = World::new(Way::Quic).await;
    let a = world.device("a").await;
    let kit = a.make_recovery_kit().await.unwrap();
    settled(&a).await;

    let slip = kit.words.split(' ').rev().collect::<Vec<_>>().join(" ");
    let other = "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal \
                 winner thank year wave sausage worth title";
    for (words, code) in
        [(slip.as_str(), Code::KitInvalid), ("legal winner", Code::KitInvalid), (other, Code::KitUnknown)]
    {
        let wrong = RecoveryWords { words: words.to_owned().into(), ..kit.clone() };
        assert_eq!(recover(&world, "x", &wrong).await.err(), Some(code), "{words}");
    }
    // Somebody with another app, or with a group that it shares.
    let x = SyncClient::new(world.config("y").app_id("another")).await.unwrap();
    let error = x.recover(&kit.words, &kit.relay, None, SOON).await.unwrap_err();
    assert_eq!(error.code, Code::WrongApp);
    let (c, _d) = {
        let (c, d) = (world.device("c").await, world.device("d").await);
        pair(&c, &d).await;
        (c, d)
    };
    assert_eq!(c.recover(&kit.words, &kit.relay, None, SOON).await.unwrap_err().code, Code::AlreadyInGroup);
    let embedded = sync_client::RelayAddress::Embedded;
    let error = world.device("z").await.recover(&kit.words, &embedded, None, SOON).await.unwrap_err();
    assert_eq!(error.code, Code::KitNeedsRelay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_a_device_hosts_gets_no_kit() {
    let world = World::memory().await;
    let config = sync_client::SyncConfig::at(world.home("host")).embedded_listen(([127, 0, 0, 1], 0).into());
    let host = SyncClient::new(config).await.unwrap();
    assert_eq!(host.make_recovery_kit().await.unwrap_err().code, Code::KitNeedsRelay);
    host.push("a group all the same").await.unwrap();
    assert_eq!(host.make_recovery_kit().await.unwrap_err().code, Code::KitNeedsRelay);
    assert!(!host.status().await.unwrap().recovery_kit);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_wrote_alone_comes_along() {
    let world = World::new(Way::Quic).await;
    let a = world.device("a").await;
    let kit = a.make_recovery_kit().await.unwrap();
    settled(&a).await;
    a.close().await;
    let b = world.device("b").await;
    b.push("written before").await.unwrap();
    b.recover(&kit.words, &kit.relay, Some("new name"), Duration::from_secs(30)).await.unwrap();
    let c = world.device("c").await;
    pair(&b, &c).await;
    assert_eq!(receive_texts(&c, 1).await, ["written before"]);
    assert_eq!(b.status().await.unwrap().name, "new name");
}

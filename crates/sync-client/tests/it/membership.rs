//! Devices come and go.

use sync_client::{AlertKind, ClientEvent, Code, Exit, ReceiptState};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_third_device_gets_what_was_pushed_before_it_joined() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    a.push("a1").await.unwrap();
    b.push("b1").await.unwrap();
    let last = a.push("a2").await.unwrap();
    a.wait(&last, ReceiptState::Delivered, SOON).await.unwrap();
    assert_eq!(receive_texts(&a, 1).await, ["b1"]);
    let c = world.device("c").await;
    pair(&a, &c).await;
    c.catch_up(SOON).await.unwrap();
    let mut seen = receive_texts(&c, 3).await;
    seen.sort();
    assert_eq!(seen, ["a1", "a2", "b1"]);
    let names = |devices: Vec<sync_client::DeviceInfo>| {
        let mut names: Vec<_> = devices.into_iter().filter_map(|d| d.name).collect();
        names.sort();
        names
    };
    assert_eq!(names(c.devices().await.unwrap()), ["a", "b", "c"]);
    // And what is pushed from now on goes to all.
    b.push("b2").await.unwrap();
    assert_eq!(receive_texts(&c, 1).await, ["b2"]);
    assert_eq!(receive_texts(&a, 1).await, ["b2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_ones_own_comes_along() {
    let world = World::memory().await;
    let (a, b) = (world.device("a").await, world.device("b").await);
    let at_a = a.push("a before").await.unwrap();
    let at_b = b.push("b before").await.unwrap();
    b.wait(&at_b, ReceiptState::Accepted, SOON).await.unwrap();
    pair(&a, &b).await;
    assert_eq!(receive(&a, 1).await[0].id, at_b.id);
    assert_eq!(receive(&b, 1).await[0].id, at_a.id);
    b.wait(&at_b, ReceiptState::Delivered, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_can_neither_read_nor_write() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let (mut at_a, mut at_b) = (a.events(), b.events());
    let removed = b.status().await.unwrap().device.unwrap();
    a.remove_device(removed).await.unwrap();
    event("the removal at a", &mut at_a, |e| match e {
        ClientEvent::DeviceRemoved { device, .. } if device.id == removed => Some(()),
        _ => None,
    })
    .await;
    let by = event("the removal at b", &mut at_b, |e| match e {
        ClientEvent::Removed { by, lost: false, recovered: false } => Some(by.name.clone()),
        _ => None,
    });
    assert_eq!(by.await.as_deref(), Some("a"));
    a.push("not for b").await.unwrap();
    assert_eq!(b.push("not for a").await.unwrap_err().code, Code::Removed);
    assert_eq!(b.catch_up(SOON).await.unwrap_err().code, Code::Removed);
    assert!(b.read("app", None, 10).await.unwrap().is_empty());
    assert_eq!(a.devices().await.unwrap().len(), 1);
    assert_eq!(b.doctor().await.unwrap()[0].code, Some(Code::Removed));
    // After leaving what it was removed from it may pair again.
    b.leave().await.unwrap();
    pair(&a, &b).await;
    a.push("welcome back").await.unwrap();
    soon("the new blob", async { while receive_texts(&b, 1).await != ["welcome back"] {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_removed_by_the_others_and_may_join_again() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let mut events = a.events();
    let error = b.join(&invite_link(&a).await, None).await.unwrap_err();
    assert_eq!(error.code, Code::AlreadyInGroup);
    b.leave().await.unwrap();
    assert_eq!(b.status().await.unwrap().group, None);
    assert_eq!(b.leave().await.unwrap_err().code, Code::NotInGroup);
    event("the removal", &mut events, |e| matches!(e, ClientEvent::DeviceRemoved { .. }).then_some(())).await;
    assert_eq!(a.devices().await.unwrap().len(), 1);
    pair(&a, &b).await;
    assert_eq!(a.devices().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_tell_the_others_stays() {
    let mut world = World::memory().await;
    let (a, b) = world.pair().await;
    world.stop_relay().await;
    let group = b.status().await.unwrap().group;
    let error = b.leave().await.unwrap_err();
    assert_eq!(error.code, Code::RelayUnreachable);
    assert!(error.message.contains("reset"), "{error}");
    assert_eq!(b.status().await.unwrap().group, group);
    let receipt = b.push("still here").await.unwrap();
    world.start_relay().await;
    assert_eq!(receive_texts(&a, 1).await, ["still here"]);
    b.wait(&receipt, ReceiptState::Delivered, SOON).await.unwrap();
    assert_eq!(a.devices().await.unwrap().len(), 2);
    b.leave().await.unwrap();
    assert_eq!(b.status().await.unwrap().group, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_nobody_is_there_is_removed_by_the_next_one() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    a.close().await;
    b.leave().await.unwrap();
    assert_eq!(b.status().await.unwrap().group, None);
    let a = world.device("a").await;
    let mut events = a.events();
    if a.devices().await.unwrap().len() > 1 {
        event("the removal", &mut events, |e| matches!(e, ClientEvent::DeviceRemoved { .. }).then_some(())).await;
    }
    assert_eq!(a.devices().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_between_asking_and_being_told_goes_on_leaving_at_the_next_start() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    b.catch_up(SOON).await.unwrap();
    a.close().await;
    let mut events = b.events();
    let leaving = tokio::spawn({
        let b = b.clone();
        async move { b.leave().await }
    });
    event("the request at the relay", &mut events, |e| matches!(e, ClientEvent::Accepted).then_some(())).await;
    b.close().await;
    assert_eq!(leaving.await.unwrap().unwrap_err().code, Code::Closed);
    let b = world.device("b").await;
    soon("the end of the group here", async { while b.status().await.unwrap().group.is_some() {} }).await;
    let a = world.device("a").await;
    soon("the removal", async { while a.devices().await.unwrap().len() > 1 {} }).await;
}

/// On one thread all calls wait before the engine runs, so that it takes them in one turn.
#[tokio::test]
async fn what_is_asked_while_everything_is_forgotten_is_refused() {
    let world = World::memory().await;
    let a = world.device("a").await;
    a.push("before").await.unwrap();
    let (early, left, late, moved) =
        tokio::join!(a.push("early"), a.leave(), a.push_to("c", "late"), a.advance("app", None, 1));
    left.unwrap();
    assert_eq!(early.unwrap_err().code, Code::NotInGroup);
    assert_eq!(late.unwrap_err().code, Code::NotInGroup);
    assert_eq!(moved.unwrap_err().code, Code::NotInGroup);
    assert_eq!(a.status().await.unwrap().group, None);
    let receipt = a.push("after").await.unwrap();
    assert_eq!(a.receipt_state(receipt.id).await.unwrap(), ReceiptState::Queued);
    assert_eq!(a.status().await.unwrap().outbox, 1);
}

async fn invite_link(member: &sync_client::SyncClient) -> String {
    let mut invite = member.invite(Default::default()).await.unwrap();
    uri(&mut invite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_members_can_be_removed_and_nobody_removes_itself() {
    let world = World::memory().await;
    let a = world.device("a").await;
    let stranger = sync_client::DeviceId([9; 16]);
    assert_eq!(a.remove_device(stranger).await.unwrap_err().code, Code::NotInGroup);
    let (_, own) = a.ensure_group().await.unwrap();
    assert_eq!(a.remove_device(stranger).await.unwrap_err().code, Code::UnknownDevice);
    assert_eq!(a.remove_device(own).await.unwrap_err().code, Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_device_deletes_what_it_holds_when_it_next_connects() {
    let world = World::new(Way::Quic).await;
    let (a, b) = world.pair().await;
    // So much that whole pages of the database become free.
    let secrets =
        (0..400).map(|n| format!("{n}: a secret of many words that b holds. ").repeat(40).into_bytes()).collect();
    let receipts = a.push_many("a channel of many words", secrets).await.unwrap();
    a.wait(receipts.last().unwrap(), ReceiptState::Delivered, SOON).await.unwrap();
    let (lost, home) = (b.status().await.unwrap().device.unwrap(), world.home("b"));
    b.close().await;
    // Its content is sealed; the names of channels show whether there is any.
    assert!(any_file_holds(&home, b"a channel of many words"));
    assert!(!any_file_holds(&home, b"a secret of many words"));
    let mut events = a.events();
    a.remove_lost_device(lost).await.unwrap();
    let gone = |e: &ClientEvent| match e {
        ClientEvent::DeviceRemoved { device, exit, .. } if device.id == lost => Some(*exit),
        _ => None,
    };
    assert_eq!(event("the removal", &mut events, gone).await, Exit::Lost);
    let after = a.push("what the lost device never gets").await.unwrap();
    a.wait(&after, ReceiptState::Accepted, SOON).await.unwrap();

    let b = world.device("b").await;
    let mut events = b.events();
    // First why, then that it is done.
    let removed = |e: &ClientEvent| match e {
        ClientEvent::Removed { lost, .. } => Some(Some(*lost)),
        ClientEvent::Left { .. } => Some(None),
        _ => None,
    };
    assert_eq!(event("what happened to it", &mut events, removed).await, Some(true), "nobody was told why");
    assert_eq!(event("that it is done", &mut events, removed).await, None);
    assert!(b.status().await.unwrap().group.is_none());
    assert!(b.read("fresh", None, 10).await.unwrap().is_empty());
    // While the app runs as well as later.
    for bytes in [&b"a channel of many words"[..], b"what the lost device", lost.as_bytes()] {
        assert!(!any_file_holds(&home, bytes), "{} stands on the disk still", String::from_utf8_lossy(bytes));
    }
    b.close().await;
    assert!(!any_file_holds(&home, b"a channel of many words"), "it stands on the disk still");
    // Whoever opens the app again is told why it is empty, and nothing keeps the device from being used anew.
    let b = world.device("b").await;
    let alerts = b.alerts().await.unwrap();
    assert_eq!((alerts.len(), alerts[0].kind, alerts[0].seen), (1, AlertKind::Wiped, false));
    pair(&a, &b).await;
}

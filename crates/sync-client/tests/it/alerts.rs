//! What a person is told of what happened to the group's devices, also while no app ran.

use sync_client::{Alert, AlertKind, ClientEvent, Code, SyncClient};

use crate::support::*;

/// Waits until there is an alert of this kind about the device of this name, and gives it.
async fn alert(client: &SyncClient, kind: AlertKind, name: Option<&str>) -> Alert {
    let mut events = client.events();
    soon(&format!("{kind:?} about {name:?}"), async {
        loop {
            let fits = |a: &Alert| a.kind == kind && a.device.as_ref().and_then(|d| d.name.as_deref()) == name;
            if let Some(found) = client.alerts().await.unwrap().into_iter().find(fits) {
                break found;
            }
            events.next().await.expect("the client is open");
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_device_is_told_who_came_and_who_went_with_names_also_after_a_restart() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let began = alert(&a, AlertKind::Linked, Some("b")).await;
    assert!(began.seen, "who did it knows");
    assert!(began.by.as_ref().unwrap().own && began.next_step().is_empty());
    assert!(alert(&b, AlertKind::Joined, Some("b")).await.seen);

    // While an app is closed.
    b.close().await;
    let c = world.device("c").await;
    pair(&a, &c).await;
    let b = world.device("b").await;
    let linked = alert(&b, AlertKind::Linked, Some("c")).await;
    assert_eq!((linked.text().as_str(), linked.seen), ("«a» linked «c».", false));
    assert!(linked.at >= began.at && linked.code.is_none());
    // It stands until somebody has seen it.
    b.close().await;
    let b = world.device("b").await;
    assert_eq!(alert(&b, AlertKind::Linked, Some("c")).await, linked);
    let mut events = b.events();
    b.alerts_seen(linked.number).await.unwrap();
    let up_to = |e: &ClientEvent| match e {
        ClientEvent::AlertsSeen { up_to } => Some(*up_to),
        _ => None,
    };
    assert_eq!(event("word that it was seen", &mut events, up_to).await, linked.number);
    b.close().await;
    let b = world.device("b").await;
    assert!(alert(&b, AlertKind::Linked, Some("c")).await.seen);

    // One is removed as lost, and one leaves.
    let mut events = b.events();
    a.remove_lost_device(c.status().await.unwrap().device.unwrap()).await.unwrap();
    let told = |e: &ClientEvent| match e {
        ClientEvent::Alert(alert) if alert.kind == AlertKind::Lost => Some(alert.clone()),
        _ => None,
    };
    let lost = event("word of it at b", &mut events, told).await;
    assert_eq!(lost.text(), "«a» removed «c» as lost: it deletes what it holds when it next connects.");
    assert!(!lost.seen && lost.number > linked.number && lost.since.is_some_and(|since| since <= lost.at));
    assert!(alert(&a, AlertKind::Lost, Some("c")).await.seen);
    alert(&c, AlertKind::Wiped, None).await;
    b.leave().await.unwrap();
    let left = alert(&a, AlertKind::Left, Some("b")).await;
    assert_eq!((left.text().as_str(), left.by, left.seen), ("«b» left.", None, false));
    let own: Vec<_> = b.alerts().await.unwrap().into_iter().map(|a| (a.kind, a.seen)).collect();
    assert_eq!(own, [(AlertKind::Left, true)], "the group's names are gone with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_is_told_by_whom() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let id = b.status().await.unwrap().device.unwrap();
    b.close().await;
    a.remove_device(id).await.unwrap();
    let b = world.device("b").await;
    let removed = alert(&b, AlertKind::Removed, Some("b")).await;
    assert_eq!((removed.text().as_str(), removed.code), ("«a» removed this device.", Some(Code::Removed)));
    assert!(!removed.seen && removed.next_step().contains("pair it again"));
}

use sync_types::{Code, DeviceId};

use super::tests::{OTHER, apply, blob, fresh, open, receive};
use super::*;
use crate::{Alert, AlertDevice, AlertKind};

fn warning(kind: AlertKind, at: u64) -> Alert {
    let device = Some(AlertDevice { id: OTHER, name: None, own: false });
    Alert { number: 0, kind, at, seen: false, device, by: None, code: Some(Code::Withheld), count: 1, since: None }
}

async fn tell(store: &mut Store, alert: Alert) -> Option<Alert> {
    let mut turn = store.begin().await;
    let told = turn.alert(alert).await.unwrap();
    turn.commit().await.unwrap();
    told
}

#[tokio::test]
async fn a_warning_that_comes_again_is_counted_and_told_once_a_day() {
    const DAY: u64 = 24 * 3600 * 1000;
    let (_folder, mut store) = fresh().await;
    let first = tell(&mut store, warning(AlertKind::Forged, 1)).await.unwrap();
    let again = tell(&mut store, Alert { count: 4, ..warning(AlertKind::Forged, 2) }).await.unwrap();
    assert_eq!((again.number, again.at, again.count), (first.number, 1, 5), "nobody has seen it");
    let mut turn = store.begin().await;
    turn.alerts_seen(again.number);
    turn.commit().await.unwrap();
    assert_eq!(tell(&mut store, warning(AlertKind::Forged, 3)).await, None, "it was seen today");
    let tomorrow = tell(&mut store, warning(AlertKind::Forged, DAY + 1)).await.unwrap();
    assert!(tomorrow.number > again.number && tomorrow.count == 7 && !tomorrow.seen);
    assert_eq!(store.reader().alerts().await.unwrap(), std::slice::from_ref(&tomorrow));
    // Of another device, and of none, it is another one.
    let nobody = Alert { device: None, ..warning(AlertKind::Forged, 4) };
    assert_eq!(tell(&mut store, nobody.clone()).await.unwrap().count, 1);
    assert_eq!(tell(&mut store, nobody).await.unwrap().count, 2);
    // How much is withheld is no sum.
    tell(&mut store, Alert { count: 9, ..warning(AlertKind::Withheld, 4) }).await.unwrap();
    assert_eq!(tell(&mut store, Alert { count: 2, ..warning(AlertKind::Withheld, 5) }).await.unwrap().count, 2);
    // A silent device is told once for each silence.
    let silent = |since, at| Alert { since: Some(since), ..warning(AlertKind::StalePeer, at) };
    let told = tell(&mut store, silent(1, 6)).await.unwrap();
    assert_eq!(tell(&mut store, silent(1, 9 * DAY)).await, None);
    let mut turn = store.begin().await;
    turn.alerts_seen(told.number);
    turn.commit().await.unwrap();
    assert!(tell(&mut store, silent(2, 9)).await.unwrap().number > told.number);
}

#[tokio::test]
async fn alerts_are_bounded_warnings_push_no_changes_out_and_names_come_later() {
    let (_folder, mut store) = fresh().await;
    let device = |n: u32| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        Some(AlertDevice { id: DeviceId(id), name: None, own: false })
    };
    let mut turn = store.begin().await;
    let by = Some(AlertDevice { id: OTHER, name: Some("Laptop".into()), own: false });
    let linked = Alert { device: device(7), by, code: None, ..warning(AlertKind::Linked, 1) };
    turn.alert(linked).await.unwrap();
    for n in 0..1_100 {
        turn.alert(Alert { device: device(n), ..warning(AlertKind::Forged, 2) }).await.unwrap();
    }
    turn.commit().await.unwrap();
    let all = store.reader().alerts().await.unwrap();
    assert_eq!(all.len(), 1_001);
    assert_eq!((all[0].device.clone(), all[1_000].kind), (device(1_099), AlertKind::Linked));
    assert_eq!(all[999].device, device(100), "the newest stay");

    let mut turn = store.begin().await;
    let named = turn.name_in_alerts(device(7).unwrap().id, "Phone").await.unwrap();
    turn.commit().await.unwrap();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].text(), "«Laptop» linked «Phone».");
    let mut turn = store.begin().await;
    let renamed = turn.name_in_alerts(device(7).unwrap().id, "Another").await.unwrap();
    assert_eq!(renamed[0].device.as_ref().unwrap().name.as_deref(), Some("Phone"), "as it was called then");
}

#[tokio::test]
async fn nothing_of_a_forgotten_group_is_left_in_the_file_also_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let mut store = open(&path, None).await.unwrap();
    // The blobs are sealed; the names of their channels are not.
    let secrets = (0..300).map(|n| blob(n, "a secret of many words", &"x".repeat(2_000))).collect();
    apply(&mut store, vec![receive(OTHER, 1, secrets, false)]).await;
    let holds = || {
        let files = std::fs::read_dir(folder.path()).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        files.into_iter().any(|bytes| bytes.windows(20).any(|part| part == b"a secret of many wor"))
    };
    let mut turn = store.begin().await;
    turn.forget_all();
    turn.commit().await.unwrap();
    assert!(holds(), "deleted pages keep what was in them");
    // The process ends before it is done.
    store.close().await;
    assert!(holds());
    let mut store = open(&path, None).await.unwrap();
    store.scrub().await.unwrap();
    assert!(!holds());
    assert_eq!(store.meta("scrub").await.unwrap(), None);
}

//! Devices that were away for long: what becomes of what they wrote, of what they missed, and of what others wait for.

use std::collections::BTreeSet;
use std::time::Duration;

use sync_client::{ClientEvent, Code, Events, Receipt, ReceiptState, SyncClient};

use crate::support::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn says(client: &SyncClient, text: &str) -> Receipt {
    client.push(text.to_owned()).await.unwrap()
}

async fn delivered(client: &SyncClient, receipt: &Receipt) {
    client.wait(receipt, ReceiptState::Delivered, SOON).await.unwrap();
}

async fn synced(events: &mut Events) {
    event("the end of the fetching", events, |e| matches!(e, ClientEvent::Synced).then_some(())).await;
}

/// What these are, each once.
fn set(texts: Vec<String>) -> BTreeSet<String> {
    let (count, set) = (texts.len(), texts.into_iter().collect::<BTreeSet<_>>());
    assert_eq!(set.len(), count, "something came twice");
    set
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_for_40_days_with_edits_of_its_own_loses_nothing_and_neither_do_the_others() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let (c, d) = (world.device("c").await, world.device("d").await);
    pair(&a, &c).await;
    pair(&a, &d).await;
    let before = says(&a, "before").await;
    delivered(&a, &before).await;
    for device in [&b, &c, &d] {
        assert_eq!(receive_texts(device, 1).await, ["before"]);
    }
    b.close().await;
    let b = world.offline("b").await;
    let mut of_b = BTreeSet::new();
    for n in 0..5 {
        says(&b, &format!("b offline {n}")).await;
        of_b.insert(format!("b offline {n}"));
    }
    b.close().await;

    // The others go on: they push, renew their keys each week, put one out and take one in.
    let mut missed = BTreeSet::new();
    let mut early = None;
    let epoch = a.status().await.unwrap().epoch;
    for day in 0..40 {
        world.forward.advance(DAY);
        let receipt = says(&a, &format!("a{day}")).await;
        assert_eq!(receive_texts(&c, 1).await, [format!("a{day}")]);
        missed.insert(format!("a{day}"));
        if day % 5 == 0 {
            says(&c, &format!("c{day}")).await;
            assert_eq!(receive_texts(&a, 1).await, [format!("c{day}")]);
            missed.insert(format!("c{day}"));
        }
        match day {
            5 => early = Some(receipt),
            10 => {
                let state = a.receipt_state(early.as_ref().unwrap().id).await.unwrap();
                assert_eq!(state, ReceiptState::Accepted, "the one that is away has not signed");
                let gone = d.status().await.unwrap().device.unwrap();
                a.remove_device(gone).await.unwrap();
            }
            20 => {
                let e = world.device("e").await;
                pair(&c, &e).await;
                e.close().await;
            }
            _ => {}
        }
    }
    assert!(a.status().await.unwrap().epoch >= epoch + 2 + 4, "two changes, and everybody renewed its keys");
    // Whoever is away for that long is waited for no more.
    delivered(&a, early.as_ref().unwrap()).await;

    let b = world.device("b").await;
    let mut events = b.events();
    let days = soon("the word that it was away", async {
        loop {
            if let Some(days) = b.status().await.unwrap().away_days {
                break days;
            }
            events.next().await.unwrap();
        }
    })
    .await;
    assert_eq!(days, 40);
    let findings = b.doctor().await.unwrap();
    assert!(findings.iter().any(|f| f.code == Some(Code::Lapsed) && f.detail.contains("40 days")), "{findings:?}");
    let got = set(receive_texts(&b, missed.len()).await);
    assert_eq!(got, missed, "all that it missed, and each once");
    if b.status().await.unwrap().away_days.is_some() {
        synced(&mut events).await;
    }
    let status = b.status().await.unwrap();
    assert_eq!((status.away_days, status.wants_history, status.withheld, status.trouble), (None, false, 0, None));

    // What it wrote meanwhile is with everybody, and is signed for.
    let e = world.device("e").await;
    for device in [&a, &c] {
        assert_eq!(set(receive_texts(device, of_b.len()).await), of_b);
    }
    let all: BTreeSet<String> = missed.iter().chain(&of_b).cloned().chain(["before".into()]).collect();
    assert_eq!(set(receive_texts(&e, all.len()).await), all, "a newcomer of that time has it all, too");
    let again = says(&b, "back").await;
    delivered(&b, &again).await;
    for device in [&a, &c, &e] {
        assert_eq!(receive_texts(device, 1).await, ["back"]);
        assert!(device.read("app", None, 10).await.unwrap().is_empty(), "nothing comes twice");
    }
    assert!(b.read("app", None, 10).await.unwrap().is_empty(), "nothing comes twice");
    let ids = |status: sync_client::Status| status.devices.into_iter().map(|d| d.id).collect::<BTreeSet<_>>();
    assert_eq!(ids(b.status().await.unwrap()), ids(a.status().await.unwrap()));
    // And from now on it is waited for again.
    b.close().await;
    let waits = says(&a, "who waits").await;
    a.wait(&waits, ReceiptState::Accepted, SOON).await.unwrap();
    assert_eq!(receive_texts(&c, 1).await, ["who waits"]);
    assert_eq!(a.receipt_state(waits.id).await.unwrap(), ReceiptState::Accepted);
    let b = world.device("b").await;
    assert_eq!(receive_texts(&b, 1).await, ["who waits"]);
    delivered(&a, &waits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_renewals_and_a_removal_pass_while_a_third_is_offline() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let (c, d) = (world.device("c").await, world.device("d").await);
    pair(&a, &c).await;
    pair(&a, &d).await;
    b.close().await;
    let b = world.offline("b").await;
    says(&b, "of b").await;
    b.close().await;

    let epoch = a.status().await.unwrap().epoch;
    let gone = d.status().await.unwrap().device.unwrap();
    let mut events = c.events();
    a.remove_device(gone).await.unwrap();
    event("the removal", &mut events, |e| matches!(e, ClientEvent::DeviceRemoved { .. }).then_some(())).await;
    for week in 0..2 {
        world.forward.advance(9 * DAY);
        says(&a, &format!("a{week}")).await;
        assert_eq!(receive_texts(&c, 1).await, [format!("a{week}")]);
        soon("the renewal of both", async {
            while a.status().await.unwrap().epoch < epoch + 1 + 2 * (week + 1) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    let b = world.device("b").await;
    assert_eq!(receive_texts(&b, 2).await, ["a0", "a1"]);
    let own = says(&b, "of b, too").await;
    delivered(&b, &own).await;
    for device in [&a, &c] {
        assert_eq!(receive_texts(device, 2).await, ["of b", "of b, too"]);
        assert!(device.read("app", None, 10).await.unwrap().is_empty());
    }
    let status = b.status().await.unwrap();
    assert_eq!((status.away_days, status.devices.len(), status.trouble), (None, 3, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_for_200_days_is_put_out_told_why_and_brings_what_it_wrote_when_it_is_paired_again() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let c = world.device("c").await;
    pair(&a, &c).await;
    let before = says(&a, "before").await;
    delivered(&a, &before).await;
    b.close().await;
    let b = world.offline("b").await;
    let gone = b.status().await.unwrap().device.unwrap();
    says(&b, "of b").await;
    b.close().await;

    let mut events = c.events();
    let is_member = async |device: &SyncClient| device.status().await.unwrap().devices.iter().any(|d| d.id == gone);
    for turn in 0..40 {
        world.forward.advance(5 * DAY);
        says(&a, &format!("a{turn}")).await;
        let first = receive_texts(&c, if turn == 0 { 2 } else { 1 }).await;
        assert_eq!(first.last(), Some(&format!("a{turn}")));
        says(&c, &format!("c{turn}")).await;
        assert_eq!(receive_texts(&a, 1).await, [format!("c{turn}")]);
        if turn < 35 {
            assert!(is_member(&a).await, "it has been silent for {} days only", 5 * (turn + 1));
        }
    }
    event("the removal", &mut events, |e| match e {
        ClientEvent::DeviceRemoved { device, .. } if device.id == gone => Some(()),
        _ => None,
    })
    .await;
    assert!(!is_member(&a).await && !is_member(&c).await);

    let b = world.device("b").await;
    let mut events = b.events();
    let trouble = soon("the word of the removal", async {
        loop {
            match b.status().await.unwrap().trouble {
                Some(trouble) if trouble.code == Code::Removed => break trouble,
                _ => events.next().await.unwrap(),
            };
        }
    })
    .await;
    assert!(trouble.message.contains("silent for 200 days"), "{}", trouble.message);
    assert_eq!(b.push("nobody would get it").await.unwrap_err().code, Code::Removed);
    pair(&a, &b).await;
    for device in [&a, &c] {
        assert_eq!(receive_texts(device, 1).await, ["of b"]);
        assert!(device.read("app", None, 10).await.unwrap().is_empty(), "nothing comes twice");
    }
    let got = set(receive_texts(&b, 81).await);
    assert!(got.contains("before") && got.contains("a0") && got.contains("c39"));
    let again = says(&b, "back").await;
    delivered(&b, &again).await;
    assert_eq!(b.status().await.unwrap().trouble, None);
}

/// The same with a clock that leaps and devices that are off: nobody is put out for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_leap_of_the_clock_puts_nobody_out_and_nothing_is_let_go_of() {
    let world = World::memory().await;
    let (a, b) = world.pair().await;
    let c = world.device("c").await;
    pair(&a, &c).await;
    b.close().await;
    let waits = says(&a, "waits for b").await;
    a.wait(&waits, ReceiptState::Accepted, SOON).await.unwrap();
    assert_eq!(receive_texts(&c, 1).await, ["waits for b"]);
    a.close().await;
    c.close().await;
    // A year passes for devices that are off.
    world.forward.advance(365 * DAY);
    let (a, c) = (world.device("a").await, world.device("c").await);
    let back = says(&a, "a again").await;
    a.wait(&back, ReceiptState::Accepted, SOON).await.unwrap();
    assert_eq!(receive_texts(&c, 1).await, ["a again"]);
    for device in [&a, &c] {
        assert_eq!(device.status().await.unwrap().devices.len(), 3, "nobody knows that it was away for longer");
    }
    for receipt in [&waits, &back] {
        assert_eq!(a.receipt_state(receipt.id).await.unwrap(), ReceiptState::Accepted, "it has not signed");
    }
    let b = world.device("b").await;
    assert_eq!(receive_texts(&b, 2).await, ["waits for b", "a again"]);
    delivered(&a, &back).await;
}

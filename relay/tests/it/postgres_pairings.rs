//! Pairings whose two devices come to different relays over one PostgreSQL.

use sync_relay::RunningRelay;
use sync_relay::store::Shared;
use sync_relay::store::postgres::PostgresStore;
use sync_types::frame::{FromRelay, JoinNameplate, OpenNameplate, OpenSlot, SlotSide, ToRelay};
use sync_types::{Code, Opaque, VERSION, limits};

use crate::device::Wire;
use crate::pg_server::Server;
use crate::postgres_nodes::{node, soon, two};

const SHOWS: OpenSlot = OpenSlot { version: VERSION, slot: [7; 16], side: SlotSide::Shows, ttl_seconds: 60 };
const SCANS: OpenSlot = OpenSlot { side: SlotSide::Scans, ..SHOWS };

async fn asked(relay: &RunningRelay, frame: ToRelay) -> Wire {
    let mut wire = Wire::local(relay);
    wire.send(&frame).await;
    wire
}

async fn opened(relay: &RunningRelay, request: OpenSlot) -> Wire {
    let mut wire = asked(relay, ToRelay::OpenSlot(request)).await;
    assert_eq!(soon(wire.receive()).await, Some(FromRelay::SlotOpened));
    wire
}

async fn shown(relay: &RunningRelay) -> (Wire, u32) {
    let mut wire = asked(relay, ToRelay::OpenNameplate(OpenNameplate { version: VERSION, ttl_seconds: 60 })).await;
    match soon(wire.receive()).await {
        Some(FromRelay::Nameplate(number)) => (wire, number),
        other => panic!("{other:?}"),
    }
}

async fn typed(relay: &RunningRelay, nameplate: u32) -> Wire {
    asked(relay, ToRelay::JoinNameplate(JoinNameplate { version: VERSION, nameplate })).await
}

/// Each side says as much as it may, as long as it may be.
async fn talk(one: &mut Wire, other: &mut Wire) {
    for n in 0..limits::PAIRING_MESSAGES {
        for turn in [true, false] {
            let (from, to) = if turn { (&mut *one, &mut *other) } else { (&mut *other, &mut *one) };
            let message = Opaque(vec![n as u8; limits::PAIRING_MESSAGE_BYTES - n]);
            from.send(&ToRelay::SlotMessage(message.clone())).await;
            assert_eq!(soon(to.receive()).await, Some(FromRelay::SlotMessage(message)));
        }
    }
}

async fn over(mut wire: Wire) {
    assert_eq!(soon(wire.receive()).await, Some(FromRelay::SlotClosed));
    assert_eq!(soon(wire.receive()).await, None, "its stream ends");
}

async fn refused(mut wire: Wire) -> Code {
    soon(wire.refusal()).await.code()
}

#[tokio::test]
async fn two_devices_pair_by_link_wherever_each_comes() {
    let server = Server::start();
    let (_, left, right) = two(&server).await;
    let mut shower = opened(&left, SHOWS).await;
    let mut scanner = opened(&right, SCANS).await;
    talk(&mut shower, &mut scanner).await;
    scanner.send(&ToRelay::CloseSlot).await;
    over(shower).await;
    // Used is used, at either.
    for relay in [&left, &right] {
        for request in [SCANS, SHOWS] {
            assert_eq!(refused(asked(relay, ToRelay::OpenSlot(request)).await).await, Code::PairingUsed);
        }
    }
    let unknown = OpenSlot { slot: [8; 16], ..SCANS };
    assert_eq!(refused(asked(&right, ToRelay::OpenSlot(unknown)).await).await, Code::NoSuchPairing);
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test]
async fn two_devices_pair_by_code_wherever_each_comes() {
    let server = Server::start();
    let (_, left, right) = two(&server).await;
    let mut slots = Vec::new();
    for n in 0..60 {
        slots.push(shown(if n % 2 == 0 { &left } else { &right }).await);
    }
    let mut numbers: Vec<u32> = slots.iter().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 60, "no number is given out twice");
    let (mut shower, number) = slots.remove(0);
    let mut typer = typed(&right, number).await;
    assert_eq!(soon(typer.receive()).await, Some(FromRelay::SlotOpened));
    talk(&mut shower, &mut typer).await;
    // A third who comes to it, wherever, ends it for all.
    assert_eq!(refused(typed(&left, number).await).await, Code::PairingUsed);
    assert_eq!((refused(shower).await, refused(typer).await), (Code::PairingUsed, Code::PairingUsed));
    assert_eq!(refused(typed(&right, number).await).await, Code::PairingUsed);
    left.shutdown().await;
    right.shutdown().await;
}

/// Whoever shows a link and loses its connection comes back with it, to whichever relay.
#[tokio::test]
async fn a_link_that_nobody_has_used_may_be_shown_at_another_relay() {
    let server = Server::start();
    let (_, left, right) = two(&server).await;
    let mut first = opened(&left, SHOWS).await;
    first.send(&ToRelay::CloseSlot).await;
    assert_eq!(soon(first.receive()).await, None);
    let mut shower = opened(&right, SHOWS).await;
    let mut scanner = opened(&left, SCANS).await;
    talk(&mut shower, &mut scanner).await;
    // One message too many ends it for both.
    shower.send(&ToRelay::SlotMessage(Opaque(vec![1]))).await;
    assert_eq!((refused(shower).await, refused(scanner).await), (Code::Protocol, Code::Protocol));
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test]
async fn a_relay_that_stops_ends_the_pairings_that_it_had_with_others() {
    let server = Server::start();
    let (url, left, right) = two(&server).await;
    let (mut shower, number) = shown(&left).await;
    let mut typer = typed(&right, number).await;
    assert_eq!(soon(typer.receive()).await, Some(FromRelay::SlotOpened));
    let other = OpenSlot { slot: [9; 16], ..SHOWS };
    let mut guest = opened(&right, other.clone()).await;
    let gone = opened(&left, OpenSlot { side: SlotSide::Scans, ..other.clone() }).await;
    talk(&mut shower, &mut typer).await;
    left.shutdown().await;
    over(typer).await;
    assert_eq!(soon(guest.receive()).await, Some(FromRelay::SlotClosed));
    drop(gone);
    // What a relay had that is gone may be shown anew; what was answered at one that lives may not.
    let identity = sync_relay::Identity::generate().unwrap();
    let third = node(&url, &identity).await;
    assert_eq!(refused(asked(&third, ToRelay::OpenSlot(other)).await).await, Code::PairingUsed);
    assert_eq!(refused(typed(&third, number).await).await, Code::NoSuchPairing);
    right.shutdown().await;
    third.shutdown().await;
}

#[tokio::test]
async fn letters_come_once_and_in_the_order_in_which_they_were_sent() {
    let server = Server::start();
    let url = server.database().await;
    let (here, there) = (PostgresStore::open(&url).await.unwrap(), PostgresStore::open(&url).await.unwrap());
    let (from, to) = (here.meeting(), there.meeting());
    let letters: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n; 60_000]).collect();
    for some in letters.chunks(30) {
        from.send(some.iter().map(|letter| (to.node(), letter.clone())).collect()).await.unwrap();
    }
    let mut got = Vec::new();
    while got.len() < letters.len() {
        got.extend(soon(to.receive()).await.unwrap());
    }
    assert!(got.iter().map(|(_, letter)| letter).eq(&letters));
    assert!(got.iter().all(|(by, _)| *by == from.node()));
    // A name is one relay's until its time is over or that relay is gone.
    let name = || b"name".to_vec();
    assert!(from.announce(name(), 60_000).await.unwrap() && from.announce(name(), 60_000).await.unwrap());
    assert!(!to.announce(name(), 60_000).await.unwrap());
    assert_eq!(to.find(name()).await.unwrap(), Some(from.node()));
    assert_eq!(to.alive().await.unwrap(), [from.node(), to.node()].into());
    here.close().await;
    assert_eq!(to.find(name()).await.unwrap(), None);
    assert!(to.announce(name(), 0).await.unwrap());
    assert_eq!(to.find(name()).await.unwrap(), None, "its time is over");
    there.close().await;
}

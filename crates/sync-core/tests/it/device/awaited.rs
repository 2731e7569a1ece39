//! Envelopes that stand for what is not here: nobody has this device's word for them.

use sync_types::body::Span;

use super::*;

/// Pushes a blob, and gives it to the other; its number.
fn push(from: &mut Lone, to: &mut Lone, n: u64) -> u64 {
    from.device.handle_pushed();
    assert!(matches!(from.device.next_read(NOW), Some(Read::Outbox { .. })));
    from.device.handle_read(Answer::Outbox(vec![row(n, "notes", b"x".to_vec())]), NOW, &mut from.rng);
    from.store();
    let sent = from.device.take_sends().into_iter().find_map(|frame| match frame {
        ToRelay::Push(envelopes) => envelopes.into_iter().next(),
        _ => None,
    });
    let envelope = sent.expect("it is sent");
    let seq = Envelope::parse(&envelope).unwrap().header.seq;
    from.hear(FromRelay::Accepted(seq));
    to.hear_entry(EntryKind::Envelope, &envelope);
    to.store();
    seq
}

/// Hands on what a device has signed for.
fn sign(from: &mut Lone, to: &mut Lone) {
    for frame in from.device.take_sends() {
        if let ToRelay::Acknowledge(acknowledge) = frame {
            to.hear(FromRelay::Receipt(acknowledge.statement));
        }
    }
}

#[test]
fn a_device_signs_for_what_it_awaits_when_it_is_here_and_asks_nobody_for_it() {
    let mut laptop = Lone::online();
    let mut phone = laptop.add_phone();
    laptop.device.take_sends();
    phone.device.take_sends();
    let wants = phone.device.status().wants;
    let sender = laptop.device.id();
    let first = push(&mut laptop, &mut phone, 1);
    sign(&mut phone, &mut laptop);
    assert_eq!(laptop.device.delivered_seq(), first);
    let second = push(&mut laptop, &mut phone, 2);
    let awaited = |from, to| [(sender, Span { sender, from, to })].into_iter().collect();
    phone.device.set_awaited(awaited(second, second));
    assert!(phone.device.awaits());
    sign(&mut phone, &mut laptop);
    let third = push(&mut laptop, &mut phone, 3);
    sign(&mut phone, &mut laptop);
    assert_eq!(laptop.device.delivered_seq(), first, "what is behind it is not signed for, either");
    // A restart forgets it, and is told before anything is sent.
    phone.restart();
    phone.device.set_awaited(awaited(second, second));
    sign(&mut phone, &mut laptop);
    assert_eq!(laptop.device.delivered_seq(), first);
    assert_eq!(phone.device.status().wants, wants);
    phone.device.set_awaited([].into_iter().collect());
    sign(&mut phone, &mut laptop);
    assert_eq!(laptop.device.delivered_seq(), third);
    // The same again is nothing new.
    phone.device.set_awaited([].into_iter().collect());
    assert!(!phone.device.take_sends().iter().any(|frame| matches!(frame, ToRelay::Acknowledge(_))));
}

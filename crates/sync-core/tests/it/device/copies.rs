//! A device whose disk runs twice: what the copy did under the same numbers is never taken for the device's own.

use super::*;

/// Seals a blob that the relay does not answer for, and gives the envelope.
fn unanswered(lone: &mut Lone, text: &str) -> Opaque {
    assert!(matches!(lone.device.next_read(NOW), Some(Read::Outbox { .. })));
    lone.device.handle_read(Answer::Outbox(vec![row(1, "notes", text.into())]), NOW, &mut lone.rng);
    lone.store();
    let mut sent = lone.device.take_sends().into_iter().filter_map(|frame| match frame {
        ToRelay::Push(envelopes) => envelopes.into_iter().next_back(),
        _ => None,
    });
    sent.next_back().expect("it is sent")
}

/// The same device once more, from what it has stored.
fn copy_of(lone: &mut Lone) -> Lone {
    lone.store();
    let rows: Vec<_> = lone.rows.clone().into_iter().collect();
    let device = Device::load(rows, sync_rules::mls::crypto()).unwrap().expect("a device");
    let mut copy = Lone {
        device,
        rng: ChaCha20Rng::from_seed([9; 32]),
        cursor: lone.cursor,
        seed: [0; 32],
        rows: lone.rows.clone(),
    };
    copy.attach(None);
    copy
}

/// The device comes back to a relay that shows this end of its chain, and looks up what it sealed under that number itself.
fn comes_back(lone: &mut Lone, shown: &Opaque, own: &Opaque) {
    let head = lone.head_of(shown);
    let seq = head.seq;
    lone.device.handle_disconnected();
    lone.attach(Some(head));
    assert!(matches!(lone.device.next_read(NOW), Some(Read::Sealed { from_seq, .. }) if from_seq == seq));
    lone.device.handle_read(Answer::Sealed(vec![(seq, own.clone())]), NOW, &mut lone.rng);
}

#[test]
fn what_a_copy_pushed_under_a_number_that_this_device_uses_too_is_not_this_devices() {
    let mut one = Lone::online();
    let mut copy = copy_of(&mut one);
    let (first, _second) = (unanswered(&mut one, "first"), unanswered(&mut one, "second"));
    let others = unanswered(&mut copy, "by the other");
    comes_back(&mut one, &others, &first);
    assert_eq!(one.device.accepted_seq(), 0);
    assert_eq!(one.device.status().halted, Some(Code::RolledBack), "it takes a new key, and loses nothing");
}

#[test]
fn a_lost_answer_is_not_mistaken_for_a_copy() {
    let mut one = Lone::online();
    let (first, _second) = (unanswered(&mut one, "first"), unanswered(&mut one, "second"));
    comes_back(&mut one, &first, &first);
    assert_eq!((one.device.accepted_seq(), one.device.status().halted), (1, None));
    assert!(matches!(one.device.next_read(NOW), Some(Read::Sealed { from_seq: 2, .. })), "it goes on behind it");
}

#[test]
fn a_receipt_for_the_envelope_of_a_copy_is_none_for_this_devices() {
    let mut one = Lone::online();
    let mut phone = one.add_phone();
    let mut copy = copy_of(&mut one);
    let (_first, _second) = (unanswered(&mut one, "first"), unanswered(&mut one, "second"));
    phone.hear_entry(EntryKind::Envelope, &unanswered(&mut copy, "by the other"));
    phone.store();
    let statements = phone.device.take_sends().into_iter().filter_map(|frame| match frame {
        ToRelay::Acknowledge(acknowledge) => Some(acknowledge.statement),
        _ => None,
    });
    for statement in statements {
        copy.hear(FromRelay::Accepted(1));
        copy.hear(FromRelay::Receipt(statement.clone()));
        one.hear(FromRelay::Receipt(statement));
    }
    assert_eq!(copy.device.delivered_seq(), 1, "it was signed for");
    assert_eq!(one.device.delivered_seq(), 0, "and so it is kept here");
}

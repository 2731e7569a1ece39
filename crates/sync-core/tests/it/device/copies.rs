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

/// Whom the device asks to sign the group's state, if it asks for that now.
fn asks_for_state(lone: &mut Lone) -> Option<Option<DeviceId>> {
    lone.device.take_sends().into_iter().find_map(|frame| match frame {
        ToRelay::GroupInfo(signer) => Some(signer),
        _ => None,
    })
}

#[test]
fn a_device_that_its_copy_puts_off_the_relay_again_and_again_asks_for_a_signature_all_the_same() {
    let mut laptop = Lone::online();
    let phone = laptop.add_phone().device.id();
    let mut copy = copy_of(&mut laptop);
    let pushed = unanswered(&mut laptop, "by the other");
    let head = laptop.head_of(&pushed);
    laptop.hear(FromRelay::Accepted(head.seq));
    // Whom the copy does not know is who signed the group's state last.
    let mut tablet = laptop.add_phone();
    tablet.device.self_update(NOW, &mut tablet.rng).unwrap();
    let state = tablet.sent_commit().expect("the group is quiet").group_info;

    let comes_back = |copy: &mut Lone| {
        copy.device.handle_disconnected();
        copy.device.handle_connected(&[1; 32], None).unwrap();
        let (epoch, head) = (copy.device.epoch(), Some(head.clone()));
        copy.hear(FromRelay::Attached(Attached { epoch, provisional: false, head, acknowledged: 0, newest: 0 }));
        copy.hear(FromRelay::CaughtUp(0));
        let asked = asks_for_state(copy);
        copy.hear(FromRelay::GroupInfo(state.clone()));
        asked
    };
    assert_eq!(comes_back(&mut copy), Some(None));
    assert_eq!(copy.device.status().halted, Some(Code::RolledBack));
    assert_eq!(comes_back(&mut copy), Some(Some(phone)), "with its first word, as it may have no time for a second");
    let then: Vec<_> = (0..8).map(|_| comes_back(&mut copy)).collect();
    assert!(then.iter().all(|asked| *asked == Some(Some(phone))), "whoever it knows: {then:?}");
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

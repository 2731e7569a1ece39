//! Who is removed goes, whatever is lost of it.

use super::*;

/// A device that is to go, and of whose last envelopes nobody has more than the end, is out in the end: the relay orders a removal
/// at that end alone.
#[test]
fn who_is_removed_goes_although_its_last_envelopes_are_lost() {
    let mut laptop = Lone::online();
    let mut phone = laptop.add_phone();
    phone.device.take_sends();
    let sealed = [1, 2].map(|n| phone.seal(&[row(n, "notes", b"lost".to_vec())]).0);
    let end = phone.head_of(&sealed[1]);
    let gone = phone.device.id();
    laptop.device.remove(gone, NOW, &mut laptop.rng).unwrap();
    let (mut now, mut told) = (NOW, false);
    while laptop.device.status().wants == 0 {
        assert!(now < NOW + 10 * 60_000, "it is in the group for ever");
        for frame in laptop.device.take_sends() {
            let answer = match frame {
                ToRelay::Push(envelopes) => {
                    FromRelay::Accepted(Envelope::parse(envelopes.last().unwrap()).unwrap().header.seq)
                }
                ToRelay::Commit(_) => {
                    let (about, code, head) = (About::Commit, Code::StaleCut as u16, Some(end.clone()));
                    FromRelay::Refused(Refused { about, code, retry_after_ms: 0, head, message: Opaque::default() })
                }
                _ => continue,
            };
            laptop.device.handle_frame(answer, now, &mut laptop.rng);
        }
        let events = laptop.device.take_events();
        told |= events.iter().any(|event| matches!(event, Event::Withheld { sender, .. } if *sender == gone));
        laptop.store();
        now = laptop.device.next_timeout().expect("something is due").max(now);
        laptop.device.handle_timeout(now, &mut laptop.rng);
        while laptop.device.next_read(now).is_some() {
            laptop.device.handle_read(Answer::Outbox(vec![]), now, &mut laptop.rng);
        }
    }
    assert!(told, "every member was asked first");
    // The next removal is at that end, and the relay orders it.
    let commit = laptop.sent_commit().or_else(|| {
        laptop.device.handle_timeout(laptop.device.next_timeout()?, &mut laptop.rng);
        laptop.sent_commit()
    });
    laptop.hear_entry(EntryKind::Commit, &commit.expect("the removal is made once more").commit);
    laptop.hear(FromRelay::Confirmed(laptop.device.epoch()));
    assert!(!laptop.device.members().iter().any(|m| m.device == gone));
    assert_eq!(laptop.device.status().wants, 0);
    let lost = Event::Unusual { outcome: Outcome::HistoryLost, sender: Some(gone) };
    assert!(laptop.device.take_events().contains(&lost), "what was lost with it is told");
}

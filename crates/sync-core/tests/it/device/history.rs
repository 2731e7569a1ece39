//! Whom a newcomer asks for what was there before it.

use super::*;

#[test]
fn a_newcomer_whose_connection_broke_goes_on_waiting_for_the_one_that_it_asked() {
    let mut laptop = Lone::online();
    laptop.seal(&[row(1, "notes", b"from before".to_vec())]);
    let mut phone = laptop.add_phone();
    let asked = phone.device.take_sends();
    let asked = asked.iter().filter(|frame| matches!(frame, ToRelay::Push(_))).count();
    assert_eq!(asked, 1, "the one that added it");
    phone.store();
    phone.device.handle_disconnected();
    phone.device.handle_connected(&[1; 32], None).unwrap();
    // A timer that was set before, while the relay has not answered.
    phone.device.handle_timeout(NOW + 5_000, &mut phone.rng);
    let epoch = phone.device.epoch();
    phone.hear(FromRelay::Attached(Attached { epoch, provisional: false, head: None, acknowledged: 0, newest: 0 }));
    phone.hear(FromRelay::CaughtUp(phone.cursor));
    let sealed = phone.store().into_iter().filter(|write| matches!(write, Write::Sealed { .. })).count();
    assert_eq!(sealed, 0, "nobody else is asked");
}

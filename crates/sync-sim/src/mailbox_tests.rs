//! Mailboxes that members host, one each: relay n is device n's.

use sync_core::Event;
use sync_rules::mls;
use sync_types::RelayAddress;

use crate::fleet::Fleet;

type Real = Fleet<mls::Crypto>;

fn mailbox(device: usize) -> RelayAddress {
    let key = format!("{:02x}", device + 1).repeat(32);
    format!("embedded://{key}@192.0.2.{}:4433", device + 1).parse().unwrap()
}

/// A group of which each device has begun to host at the same time.
fn hosting(devices: usize) -> Real {
    let addresses: Vec<RelayAddress> = (0..devices).map(mailbox).collect();
    let mut fleet = Fleet::listing(mls::crypto(), devices, addresses.clone(), &addresses[..1]);
    for (device, address) in addresses.iter().enumerate() {
        fleet.call(device, |device, now, rng| device.hosts(address, now, rng).unwrap());
    }
    fleet.pass(60_000);
    fleet
}

/// Whose mailboxes a device's list names, in its order.
fn listed(fleet: &Real, device: usize) -> Vec<usize> {
    let host = |address: Option<RelayAddress>| match address {
        Some(RelayAddress::Hosted { device: Some(host), .. }) => {
            (0..fleet.ships.len()).find(|device| fleet.id(*device) == host).expect("a device of the fleet")
        }
        other => panic!("{other:?} names nobody"),
    };
    fleet.ships[device].device.relay_addresses().into_iter().map(|(_, address)| host(address)).collect()
}

fn has_a_new_key(fleet: &Real, device: usize) -> bool {
    fleet.ships[device].events.iter().any(|e| matches!(e, Event::KeyReplaced { .. }))
}

#[test]
fn all_come_onto_the_list_who_begin_to_host_at_once() {
    let mut fleet = hosting(5);
    let mut first = listed(&fleet, 0);
    assert_eq!(first[0], 0);
    for device in 1..5 {
        assert_eq!(listed(&fleet, device), first);
    }
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2, 3, 4]);
    // One that is elsewhere says so, and keeps its place.
    let moved: RelayAddress = mailbox(3).to_string().replace("192.0.2.4", "198.51.100.4").parse().unwrap();
    let before = listed(&fleet, 3);
    fleet.call(3, |device, now, rng| device.hosts(&moved, now, rng).unwrap());
    fleet.pass(20_000);
    assert_eq!(listed(&fleet, 0), before);
    let addresses = fleet.ships[0].device.relay_addresses();
    assert!(addresses.iter().any(|(_, relay)| relay.as_ref().is_some_and(|r| r.to_string().contains("198.51.100.4"))));
    assert!((0..5).all(|device| fleet.unusual(device).is_empty() && !has_a_new_key(&fleet, device)));
}

#[test]
fn a_device_sees_to_its_list_when_a_mailbox_is_lost_and_nothing_else_happens() {
    let mut fleet = hosting(3);
    let lost = fleet.relay_id(0);
    fleet.call(1, |device, now, rng| {
        assert!(device.next_timeout().is_none_or(|at| at > now));
        device.handle_disconnected_at(lost);
        assert!(device.next_timeout().is_some_and(|at| at <= now));
        device.handle_timeout(now, rng);
        assert!(device.next_timeout().is_none_or(|at| at > now));
    });
}

//! Worlds with several relays, whose lines go up and down by chance. One seed makes one world.

use std::collections::BTreeMap;

use sync_core::Outcome;
use sync_types::RelayAddress;

use crate::crypto::InsecureCrypto;
use crate::dice::Dice;
use crate::fleet::Fleet;

/// What such a world has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Voyage {
    /// Texts that apps pushed.
    pub pushed: u64,
    /// Lines that were cut, and relays that were stopped.
    pub cuts: u64,
    /// Changes of keys, of the list of relays, and first relays that were given up.
    pub changes: [u64; 3],
    /// Processes that ended and were started again.
    pub restarts: u64,
}

impl Voyage {
    /// Counts another world to this one.
    pub fn add(&mut self, other: Self) {
        self.pushed += other.pushed;
        self.cuts += other.cuts;
        self.restarts += other.restarts;
        self.changes.iter_mut().zip(other.changes).for_each(|(mine, other)| *mine += other);
    }
}

/// How many things happen in one world.
const ACTIONS: u64 = 40;

/// Plays one world through: devices push and change the group while lines and relays go up and down; then all lines are mended
/// and everything has to be everywhere, once.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn voyage(seed: u64) -> Result<Voyage, String> {
    let mut dice = Dice::new(seed);
    let (devices, relays) = (2 + dice.index(3), 2 + dice.index(2));
    let mut fleet = Fleet::with(InsecureCrypto::from_seed(seed), devices, relays);
    let mut done = Voyage::default();
    let mut texts: Vec<String> = Vec::new();
    let mut gave_up = false;
    for action in 0..ACTIONS {
        let (device, relay) = (dice.index(devices), dice.index(relays));
        match dice.below(100) {
            0..40 => {
                let text = format!("{seed}-{action}");
                fleet.push(device, &text);
                texts.push(text);
                done.pushed += 1;
            }
            40..60 => {
                let up = dice.chance(500);
                fleet.line(device, relay, up);
                done.cuts += u64::from(!up);
            }
            60..70 => {
                let up = dice.chance(600);
                fleet.power(relay, up);
                done.cuts += u64::from(!up);
            }
            70..78 => {
                fleet.restart(device);
                done.restarts += 1;
            }
            78..92 => {
                fleet.call(device, |device, now, rng| {
                    done.changes[0] += u64::from(device.self_update(now, rng).is_ok())
                });
            }
            92..98 => {
                let mut list: Vec<RelayAddress> = fleet.ships[device]
                    .device
                    .relay_addresses()
                    .into_iter()
                    .filter_map(|(_, address)| address)
                    .collect();
                let turn = dice.index(list.len());
                list.rotate_left(turn);
                fleet.call(device, |device, now, rng| {
                    done.changes[1] += u64::from(device.set_relays(&list, now, rng).is_ok());
                });
            }
            // A person does so once, and knows that it is dead.
            _ if !gave_up && fleet.ships[device].device.relays().len() > 1 => {
                let first = fleet.first_of(device);
                fleet.power(first, false);
                fleet.pass(2_000);
                fleet.call(device, |device, now, rng| gave_up = device.give_up_first_relay(now, rng).is_ok());
                done.changes[2] += u64::from(gave_up);
            }
            _ => {}
        }
        let pause = dice.between(1, 8_000);
        fleet.pass(pause);
    }
    fleet.cut.clear();
    for relay in 0..relays {
        fleet.power(relay, true);
    }
    fleet.pass(15 * 60_000);
    check(&fleet, &texts).map_err(|wrong| format!("seed {seed}: {wrong}"))?;
    Ok(done)
}

fn check(fleet: &Fleet<InsecureCrypto>, texts: &[String]) -> Result<(), String> {
    for device in 0..fleet.ships.len() {
        let mut there: BTreeMap<String, u64> = BTreeMap::new();
        fleet.log(device).into_iter().for_each(|(_, text)| *there.entry(text).or_default() += 1);
        if let Some(lost) = texts.iter().find(|text| !there.contains_key(*text)) {
            return Err(format!("device {device} lacks {lost}: {:?}", fleet.ships[device].device.status()));
        }
        if let Some((twice, _)) = there.iter().find(|(_, count)| **count > 1) {
            return Err(format!("device {device} has {twice} twice"));
        }
        for outcome in [Outcome::Equivocation, Outcome::Forged, Outcome::SplitView, Outcome::FalseClaim] {
            if fleet.met(device, outcome) > 0 {
                return Err(format!("device {device} met {}", outcome.as_str()));
            }
        }
        let status = fleet.ships[device].device.status();
        if status.halted.is_some() || status.changing || status.epoch != fleet.ships[0].device.epoch() {
            return Err(format!("device {device} has not come to rest: {status:?}"));
        }
        if status.delivered_seq < status.sealed_seq {
            return Err(format!("what device {device} sealed is not delivered: {status:?}"));
        }
    }
    Ok(())
}

//! Named attacks on real devices and the real relay: what was expected, what was seen, and what happens without the defence.
//!
//! Each attack plays a small scene (`lab.rs`) to its end and says how it was stopped, or what harm it did. Then it plays the same
//! scene with those defences switched off that are said to stop it; there it has to do harm.

mod absence;
mod bombs;
mod branches;
mod codes;
mod fields;
mod former;
mod kept_back;
mod keys;
pub(crate) mod lab;
mod limits;
mod links;
mod local;
mod member;
mod moving;
mod outside;
mod pairing;
mod recovery;
mod relay;
mod relays;
mod stalls;
mod suites;
mod vault;

use std::panic::catch_unwind;

use sync_rules::Defence;
use sync_rules::defence::without;
use sync_types::Suite;

/// Who attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// The relay, or the network before it.
    Relay,
    /// A device that was removed, also in league with the relay.
    FormerMember,
    /// A device of the group.
    Member,
    /// Somebody at a pairing who does not belong there.
    Pairing,
    /// Somebody who is in no group, and reaches the relay.
    Stranger,
    /// What befalls a device, or somebody who has it in hand.
    Local,
}

impl By {
    /// As in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::FormerMember => "ex-member",
            Self::Member => "member",
            Self::Pairing => "pairing",
            Self::Stranger => "stranger",
            Self::Local => "local",
        }
    }
}

/// How an attack ended: how it was stopped, or what harm it did.
pub type Seen = Result<&'static str, String>;

/// An attack.
#[derive(Clone, Copy)]
pub struct Attack {
    /// Who attacks.
    pub by: By,
    /// What it is called.
    pub name: &'static str,
    /// How it ends.
    pub expected: &'static str,
    /// What stops it. Without these it does harm.
    pub defences: &'static [Defence],
    scene: fn() -> Seen,
}

/// An attack; files whose attacks are all by one hand have a shorter one of their own.
const fn attack(
    by: By,
    name: &'static str,
    expected: &'static str,
    defences: &'static [Defence],
    scene: fn() -> Seen,
) -> Attack {
    Attack { by, name, expected, defences, scene }
}

/// What became of an attack.
#[derive(Clone, Debug)]
pub struct Report {
    /// With all defences.
    pub seen: Seen,
    /// Without those that stop it: the harm that it did.
    pub control: Seen,
}

impl Attack {
    /// Plays the attack, with its defences and without.
    pub fn play(&self) -> Report {
        let control = catch_unwind(|| without(self.defences, self.scene));
        let control = control.unwrap_or_else(|_| Err("the process panics".to_owned()));
        Report { seen: (self.scene)(), control }
    }
}

impl Report {
    /// Whether the attack ended as expected, and did harm without the defence.
    pub fn is_as_expected(&self, attack: &Attack) -> bool {
        self.seen == Ok(attack.expected) && self.control.is_err()
    }
}

/// Every attack.
pub fn all() -> Vec<Attack> {
    let mut tables = vec![
        relay::ATTACKS,
        relays::ATTACKS,
        absence::ATTACKS,
        fields::ATTACKS,
        kept_back::ATTACKS,
        stalls::ATTACKS,
        limits::ATTACKS,
        keys::ATTACKS,
        branches::ATTACKS,
        former::ATTACKS,
        outside::ATTACKS,
        member::ATTACKS,
        bombs::ATTACKS,
        pairing::ATTACKS,
        links::ATTACKS,
        recovery::ATTACKS,
        local::ATTACKS,
        vault::ATTACKS,
        suites::ATTACKS,
        moving::ATTACKS,
    ];
    if Suite::XWing.is_ours() {
        // Without it there are no short codes to attack.
        tables.push(codes::ATTACKS);
    }
    tables.concat()
}

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Exactly these, in this order.
fn has_all(lab: &lab::Lab, party: usize, wanted: &[&str]) -> Result<(), String> {
    let there: Vec<String> = lab.log(party).into_iter().map(|(_, text)| text).collect();
    if there == wanted { Ok(()) } else { Err(format!("the log holds {there:?} where {wanted:?} were pushed")) }
}

/// Says what harm was done, unless all is well.
fn harm(well: bool, what: &str) -> Result<(), String> {
    if well { Ok(()) } else { Err(what.to_owned()) }
}

//! The rendezvous for pairing: two parties that know one slot's name hand each other a few messages.
//!
//! A link's slot has a name that only its two sides can know. A short code's slot has a small number, its *nameplate*, that
//! anybody can guess; so whoever comes to it has one try at the words, which are checked between the two sides, and one
//! network has [`limits::NAMEPLATE_TRIES`] at once over all nameplates, then one a minute.
//!
//! Slots live in memory only. What is in the messages is the pairing's concern; the relay keeps the peace: two sides, once,
//! not for long, and not many. A slot that ended badly or well stays known as used until its time is over, so that a second
//! use of one link is told so.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use sync_rules::Defence;
use sync_rules::defence::stands;
use sync_types::frame::{About, FromRelay, JoinNameplate, OpenNameplate, OpenSlot, SlotSide};
use sync_types::{Code, Opaque, VERSION, limits};

use crate::mailbox::Refusal;

mod tries;

use tries::Tries;

/// How many bytes may wait for scanners that are not there yet, over all slots. The scanner speaks first, so nobody needs it.
const WAITING_BYTES: usize = 16 << 20;

/// A party's name, chosen by the caller: one for each stream.
pub type PartyId = u64;

/// A frame for a party. After one that ends the rendezvous for it ([`Outgoing::is_last`]), the caller closes its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// For whom.
    pub to: PartyId,
    /// What it is told.
    pub frame: FromRelay,
}

impl Outgoing {
    /// Whether the rendezvous is over for this party.
    pub fn is_last(&self) -> bool {
        matches!(self.frame, FromRelay::SlotClosed | FromRelay::Refused(_))
    }
}

/// What the relay was told before it refused, and what the parties of the slot have to be told then.
pub type Refused = (Refusal, Vec<Outgoing>);

/// What a slot is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A hash of a link's secret.
    Link([u8; 16]),
    /// The number in a short code.
    Nameplate(u32),
}

impl Name {
    /// The name as relays that share a store write it there: 16 bytes for a link, 4 for a nameplate.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Link(name) => name.to_vec(),
            Self::Nameplate(number) => number.to_be_bytes().to_vec(),
        }
    }
}

/// All slots of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendezvous {
    most: usize,
    slots: BTreeMap<Name, Slot>,
    parties: BTreeMap<PartyId, (Name, SlotSide)>,
    /// The nameplate that was given out last.
    last_nameplate: u32,
    tries: Tries,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    expires_ms: u64,
    /// Burnt: nobody may use it any more.
    used: bool,
    shows: Option<PartyId>,
    scans: Option<PartyId>,
    /// Whether a scanner ever came.
    answered: bool,
    sent_by_shows: usize,
    sent_by_scans: usize,
    /// What the shower said before the scanner came.
    waiting: VecDeque<Opaque>,
}

impl Rendezvous {
    /// No slots yet, and never more than `most`, used ones that are remembered included.
    pub fn new(most: usize) -> Self {
        Self { most, slots: BTreeMap::new(), parties: BTreeMap::new(), last_nameplate: 0, tries: Tries::default() }
    }

    /// How many slots are open or remembered.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether a slot of this name is open or remembered.
    pub fn knows(&self, name: Name) -> bool {
        self.slots.contains_key(&name)
    }

    /// Takes a side. The shower opens the slot, the scanner joins it.
    ///
    /// Refusals: `VERSION`; `PROTOCOL` for a party that is in a slot already or a time above [`limits::PAIRING_TTL`];
    /// `NO_SUCH_PAIRING` for a scanner without a shower; `PAIRING_EXPIRED`; `RATE_LIMITED` when there are too many slots;
    /// `PAIRING_USED` for anybody who comes to a taken side or a burnt slot, and whoever is in it then is told the same: two
    /// who hold one link cannot both be the right one, so neither gets it.
    pub fn open(&mut self, party: PartyId, request: &OpenSlot, now_ms: u64) -> Result<Vec<Outgoing>, Refused> {
        self.check(party, request.version)?;
        let ttl_ms = lifetime(request.ttl_seconds)?;
        let name = Name::Link(request.slot);
        if self.slots.contains_key(&name) || request.side == SlotSide::Scans {
            return self.join(party, name, request.side, now_ms);
        }
        self.show(party, name, ttl_ms, now_ms)?;
        Ok(vec![Outgoing { to: party, frame: FromRelay::SlotOpened }])
    }

    /// Whether a slot could be shown: what [`Rendezvous::open`] and [`Rendezvous::open_nameplate`] would refuse whatever its
    /// name is.
    ///
    /// Refusals: `VERSION`, `PROTOCOL`, `RATE_LIMITED` as there.
    pub fn may_show(&self, party: PartyId, version: u8, ttl_seconds: u32) -> Result<(), Refusal> {
        let checked = self.check(party, version).and_then(|()| lifetime(ttl_seconds)).map_err(|(refusal, _)| refusal);
        checked.and_then(|_| if self.slots.len() < self.most { Ok(()) } else { Err(too_many()) })
    }

    /// The nameplate that is next. As few digits as there are slots for, these and `beside` that others have, and not the
    /// number that somebody has just released: who still types that one's code is not to burn another's. `None` if there are
    /// too many. With `drawn`, a random number, it is any of those: behind one that another relay has others of it follow.
    pub fn next_nameplate(&mut self, beside: usize, drawn: Option<u32>) -> Option<u32> {
        let taken = |n: u32| self.slots.contains_key(&Name::Nameplate(n));
        let slots = self.slots.len().saturating_add(beside);
        // So that half of the numbers are free, and the search is short.
        let ceiling = [99, 999, 9_999, 99_999, limits::NAMEPLATE].into_iter().find(|c| *c as usize / 2 > slots)?;
        let next = drawn.map_or(self.last_nameplate, |drawn| drawn % ceiling) + 1;
        self.last_nameplate = (next..=ceiling).chain(1..=ceiling).find(|n| !taken(*n))?;
        Some(self.last_nameplate)
    }

    /// Where to go on from, for a relay that is not the only one to give out nameplates.
    pub fn begin_nameplates_at(&mut self, number: u32) {
        self.last_nameplate = number;
    }

    /// The name of a party's slot, if it has one.
    pub fn name_of(&self, party: PartyId) -> Option<Name> {
        self.parties.get(&party).map(|(name, _)| *name)
    }

    /// Opens a slot under a nameplate of [`Rendezvous::next_nameplate`], which the party is told.
    ///
    /// Refusals: `VERSION`, `PROTOCOL` and `RATE_LIMITED` as for [`Rendezvous::open`]; `RATE_LIMITED` too without a nameplate.
    pub fn open_nameplate(
        &mut self,
        party: PartyId,
        request: &OpenNameplate,
        nameplate: Option<u32>,
        now_ms: u64,
    ) -> Result<Vec<Outgoing>, Refused> {
        self.check(party, request.version)?;
        let ttl_ms = lifetime(request.ttl_seconds)?;
        let free = |n: &u32| !self.slots.contains_key(&Name::Nameplate(*n));
        let number = nameplate.filter(free).ok_or_else(|| alone(too_many()))?;
        self.show(party, Name::Nameplate(number), ttl_ms, now_ms)?;
        Ok(vec![Outgoing { to: party, frame: FromRelay::Nameplate(number) }])
    }

    /// Takes one of the tries that the network `from` has over all nameplates; connections that have no address count as one.
    ///
    /// Refusal: `TOO_MANY_TRIES`, which touches no slot.
    pub fn take_try(&mut self, from: Option<IpAddr>, now_ms: u64) -> Result<(), Refusal> {
        match self.tries.take(from, now_ms) {
            Err(wait) if stands(Defence::NameplateTries) => {
                Err(refuse(Code::TooManyTries, "too many codes were tried from there").retry_after(wait))
            }
            _ => Ok(()),
        }
    }

    /// Comes to the slot with a nameplate, behind [`Rendezvous::take_try`].
    ///
    /// Refusals: as for a scanner in [`Rendezvous::open`].
    pub fn join_nameplate(
        &mut self,
        party: PartyId,
        request: &JoinNameplate,
        now_ms: u64,
    ) -> Result<Vec<Outgoing>, Refused> {
        self.check(party, request.version)?;
        self.join(party, Name::Nameplate(request.nameplate), SlotSide::Scans, now_ms)
    }

    fn check(&self, party: PartyId, version: u8) -> Result<(), Refused> {
        if version != VERSION {
            return Err(alone(refuse(Code::Version, "this relay speaks protocol version 1")));
        }
        if self.parties.contains_key(&party) {
            return Err(alone(refuse(Code::Protocol, ONE_SLOT)));
        }
        Ok(())
    }

    /// Comes to a slot that is there, or should be.
    fn join(&mut self, party: PartyId, name: Name, side: SlotSide, now_ms: u64) -> Result<Vec<Outgoing>, Refused> {
        let Some(slot) = self.slots.get_mut(&name) else {
            return Err(alone(refuse(Code::NoSuchPairing, "nobody shows this pairing")));
        };
        if slot.expires_ms <= now_ms {
            let told = self.end(name, Some(refuse(Code::PairingExpired, EXPIRED)));
            return Err((refuse(Code::PairingExpired, EXPIRED), told));
        }
        if is_once(name) && (slot.used || side == SlotSide::Shows || slot.scans.is_some()) {
            let told = self.end(name, Some(refuse(Code::PairingUsed, USED)));
            return Err((refuse(Code::PairingUsed, USED), told));
        }
        slot.scans = Some(party);
        slot.answered = true;
        self.parties.insert(party, (name, SlotSide::Scans));
        let waiting = std::mem::take(&mut slot.waiting).into_iter().map(FromRelay::SlotMessage);
        let frames = std::iter::once(FromRelay::SlotOpened).chain(waiting);
        Ok(frames.map(|frame| Outgoing { to: party, frame }).collect())
    }

    fn show(&mut self, party: PartyId, name: Name, ttl_ms: u64, now_ms: u64) -> Result<(), Refused> {
        if self.slots.len() >= self.most {
            return Err(alone(too_many()));
        }
        let slot = Slot {
            expires_ms: now_ms.saturating_add(ttl_ms),
            used: false,
            shows: Some(party),
            scans: None,
            answered: false,
            sent_by_shows: 0,
            sent_by_scans: 0,
            waiting: VecDeque::new(),
        };
        self.slots.insert(name, slot);
        self.parties.insert(party, (name, SlotSide::Shows));
        Ok(())
    }

    /// Hands a message to the other side, or keeps it until that side is there. One too many or too large ends the
    /// rendezvous for both.
    pub fn message(&mut self, party: PartyId, message: Opaque, now_ms: u64) -> Vec<Outgoing> {
        let Some(&(name, side)) = self.parties.get(&party) else {
            return vec![Outgoing { to: party, frame: refuse(Code::Protocol, "the stream has no slot").frame() }];
        };
        let is_alone = |slot: &Slot| slot.shows.is_none() || slot.scans.is_none();
        let waits = self.slots.get(&name).is_some_and(is_alone);
        let full = waits && self.waiting_bytes() + message.len() > WAITING_BYTES;
        let Some(slot) = self.slots.get_mut(&name) else { return Vec::new() };
        if slot.expires_ms <= now_ms {
            return self.end(name, Some(refuse(Code::PairingExpired, EXPIRED)));
        }
        let (sent, other) = match side {
            SlotSide::Shows => (&mut slot.sent_by_shows, slot.scans),
            SlotSide::Scans => (&mut slot.sent_by_scans, slot.shows),
        };
        let code = match () {
            () if full => Some(Code::RateLimited),
            () if message.len() > limits::PAIRING_MESSAGE_BYTES => Some(Code::TooLarge),
            () if *sent == limits::PAIRING_MESSAGES => Some(Code::Protocol),
            () => None,
        };
        if let Some(code) = code {
            let message = if full { "too much waits for the other side" } else { TOO_MUCH };
            return self.end(name, Some(refuse(code, message)));
        }
        *sent += 1;
        match other {
            Some(to) => vec![Outgoing { to, frame: FromRelay::SlotMessage(message) }],
            None => {
                slot.waiting.push_back(message);
                Vec::new()
            }
        }
    }

    /// How many bytes wait for scanners, over all slots.
    fn waiting_bytes(&self) -> usize {
        self.slots.values().flat_map(|slot| &slot.waiting).map(|message| message.len()).sum()
    }

    /// A party leaves, by its word or because its stream ended. The slot is burnt and the other side is told. A shower that
    /// nobody answered yet may come back: its slot is forgotten instead.
    pub fn close(&mut self, party: PartyId) -> Vec<Outgoing> {
        let Some((name, _)) = self.parties.remove(&party) else { return Vec::new() };
        if let Some(slot) = self.slots.get_mut(&name) {
            slot.shows = slot.shows.filter(|p| *p != party);
            slot.scans = slot.scans.filter(|p| *p != party);
            if slot.shows.is_some() && !is_once(name) {
                return Vec::new();
            }
            if !slot.answered && !slot.used {
                self.slots.remove(&name);
                return Vec::new();
            }
        }
        self.end(name, None)
    }

    /// Ends the slots whose time is over and forgets them.
    pub fn timeout(&mut self, now_ms: u64) -> Vec<Outgoing> {
        let over = |slot: &Slot| slot.expires_ms <= now_ms;
        let names: Vec<Name> = self.slots.iter().filter(|(_, slot)| over(slot)).map(|(name, _)| *name).collect();
        let mut told = Vec::new();
        for name in names {
            told.extend(self.end(name, Some(refuse(Code::PairingExpired, EXPIRED))));
            self.slots.remove(&name);
        }
        told
    }

    /// When [`Rendezvous::timeout`] is due, in milliseconds since the Unix epoch.
    pub fn next_timeout(&self) -> Option<u64> {
        self.slots.values().map(|slot| slot.expires_ms).min()
    }

    /// Burns a slot and tells whoever is in it.
    fn end(&mut self, name: Name, why: Option<Refusal>) -> Vec<Outgoing> {
        let Some(slot) = self.slots.get_mut(&name) else { return Vec::new() };
        slot.used = true;
        slot.waiting.clear();
        let frame = why.map_or(FromRelay::SlotClosed, |refusal| refusal.frame());
        let parties = [slot.shows.take(), slot.scans.take()];
        let told = parties.into_iter().flatten().map(|to| Outgoing { to, frame: frame.clone() }).collect::<Vec<_>>();
        for outgoing in &told {
            self.parties.remove(&outgoing.to);
        }
        told
    }
}

const ONE_SLOT: &str = "one slot a stream, for 1 to 600 seconds";
const TOO_MUCH: &str = "a party has at most 16 messages of 65,535 bytes";
const USED: &str = "the pairing has been used";
const EXPIRED: &str = "the pairing's time is over";

/// Whether a slot is used up by the first who come to it: every slot is.
fn is_once(name: Name) -> bool {
    stands(match name {
        Name::Link(_) => Defence::SlotOnce,
        Name::Nameplate(_) => Defence::NameplateOnce,
    })
}

fn alone(refusal: Refusal) -> Refused {
    (refusal, Vec::new())
}

fn too_many() -> Refusal {
    refuse(Code::RateLimited, "too many pairings at once").retry_after(10_000)
}

fn lifetime(seconds: u32) -> Result<u64, Refused> {
    let milliseconds = u64::from(seconds) * 1000;
    if seconds == 0 || u128::from(milliseconds) > limits::PAIRING_TTL.as_millis() {
        return Err(alone(refuse(Code::Protocol, ONE_SLOT)));
    }
    Ok(milliseconds)
}

fn refuse(code: Code, message: &'static str) -> Refusal {
    Refusal::new(About::Slot, code, message)
}

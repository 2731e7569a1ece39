//! A relay that alters one field of what it carries, each by its name: of an envelope's header, on its way to one device. (What
//! becomes of each single byte is *flip each byte of an envelope*; version and suite have rows of their own.)

use sync_core::Outcome;
use sync_rules::Defence;
use sync_types::encode;
use sync_types::envelope::{Class, Envelope, Header};
use sync_types::frame::{EntryKind, FromRelay};
use sync_types::{DeviceId, Opaque};

use super::lab::Lab;
use super::{Attack, By, SECOND, Seen, harm, has_all};

pub(super) const ATTACKS: &[Attack] = &[
    attack("alter the class of an envelope", altered::<0>),
    attack("alter the epoch of an envelope", altered::<1>),
    attack("alter the epoch's tag of an envelope", altered::<2>),
    attack("alter the sender of an envelope", altered::<3>),
    attack("alter the number of an envelope", altered::<4>),
    attack("alter the previous hash of an envelope", altered::<5>),
    attack("alter the nonce of an envelope", altered::<6>),
];

const fn attack(name: &'static str, scene: fn() -> Seen) -> Attack {
    let (expected, defences) = ("refused, then sent again", &[Defence::EnvelopeSignature]);
    Attack { by: By::Relay, name, expected, defences, scene }
}

fn alter(header: &mut Header, field: usize, other: DeviceId) {
    match field {
        0 => header.class = Class::Control,
        1 => header.epoch += 1,
        2 => header.epoch_tag[0] ^= 1,
        3 => header.sender = other,
        4 => header.seq += 1,
        5 => header.previous.0[0] ^= 1,
        _ => header.nonce[0] ^= 1,
    }
}

fn altered<const FIELD: usize>() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    let other = lab.id(2);
    let mut done = false;
    lab.down = Box::new(move |to, mut frame| {
        if let FromRelay::Deliver(entries) = &mut frame
            && to == 1
            && !done
            && let Some(entry) = entries.iter_mut().find(|e| e.kind == EntryKind::Envelope)
        {
            let envelope = Envelope::parse(&entry.bytes).expect("it was sealed a moment ago");
            let mut header = envelope.header.clone();
            alter(&mut header, FIELD, other);
            entry.bytes = Opaque(Envelope::assemble(&encode(&header), envelope.ciphertext, envelope.signature));
            done = true;
        }
        vec![frame]
    });
    lab.push(0, "altered");
    lab.down = Box::new(|_, frame| vec![frame]);
    lab.push(0, "behind it");
    lab.pass(30 * SECOND);
    harm(!lab.met(1, Outcome::Equivocation), "an honest device is said to have signed two envelopes with one number")?;
    has_all(&lab, 1, &["before", "altered", "behind it"])?;
    harm(lab.met(1, Outcome::Forged), "it was not noticed")?;
    Ok("refused, then sent again")
}

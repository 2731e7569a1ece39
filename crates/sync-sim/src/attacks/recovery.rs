//! Around the recovery kit: coming in without it, with an old one, and leading whoever has it astray.

use std::cell::Cell;
use std::rc::Rc;

use sync_core::membership::{PrepareError, Replaced, come_in, recover};
use sync_core::recovery::{Arrival, KitSnapshot, Recovering, RecoveryError, RecoveryKit, seal_snapshot, state_mac};
use sync_core::{Device, Event, NewDevice, Outcome};
use sync_rules::defence::without;
use sync_rules::statement::{Place, sign_recovery};
use sync_rules::{Defence, Inspected, Observer, SigningKey, attach, mls, unsigned_group_info};
use sync_types::body::{Body, Control, KitShare};
use sync_types::frame::{
    Cut, ExternalProof, FromRelay, KitUpload, Mac, Recover, Recoverable, SealedSnapshot, Signature, SnapshotSlot,
    ToRelay,
};
use sync_types::settings::Settings;
use sync_types::{BlobId, Code, Opaque, Suite, VERSION, encode, limits};

use super::lab::{Lab, exporter};
use super::{Attack, By, MINUTE, Seen, attack, harm, has_all};

pub(super) const ATTACKS: &[Attack] = &[
    attack(
        By::Stranger,
        "recover without the kit's key",
        "shown nothing",
        &[Defence::RecoveryAttach],
        recover_without_key,
    ),
    attack(
        By::FormerMember,
        "come in without the recovery key, relay in league",
        "refused by every member, and the group goes on",
        &[Defence::RecoveryProof],
        come_in_without_key,
    ),
    attack(
        By::FormerMember,
        "replay an old recovery proof, relay in league",
        "refused by every member, and the group goes on",
        &[Defence::RecoveryProof],
        replay_proof,
    ),
    attack(By::FormerMember, "recover with a kit that was replaced", "refused", &[Defence::RecoveryProof], old_kit),
    attack(
        By::Relay,
        "forge the state for a recovery",
        "nobody vouches for it, and nothing was sent",
        &[Defence::RecoveryState],
        forge_state,
    ),
    attack(
        By::Member,
        "lie about what members hold of the kit",
        "not taken",
        &[Defence::RecoveryShare],
        lie_about_share,
    ),
    attack(
        By::Relay,
        "forge, swap and cut short snapshots for a recovery",
        "left out, and what a member left comes back",
        &[Defence::RecoverySnapshot],
        forge_snapshot,
    ),
    attack(
        By::Relay,
        "show snapshots to a recovery without end",
        "left, and nothing was sent",
        &[Defence::SnapshotCount],
        endless_snapshots,
    ),
    attack(By::Member, "leave too much for the kit", "refused with QUOTA", &[Defence::KitQuota], leave_too_much),
];

fn kit(n: u8) -> RecoveryKit {
    RecoveryKit::from_entropy(&[n; 32])
}

/// The first device gives the group this kit, and all have seen it.
fn set(lab: &mut Lab, kit: &RecoveryKit) {
    lab.call(0, |device, now, rng| device.set_recovery_kit(kit, now, rng).expect("a member may make one"));
    lab.run();
    lab.pass(11_000);
}

/// So many devices, whose group has this kit.
fn with_kit(devices: usize, kit: &RecoveryKit) -> Lab {
    let mut lab = Lab::with(devices);
    lab.push(0, "before");
    set(&mut lab, kit);
    assert!((0..devices).all(|party| lab.parties[party].device.can_vouch()), "everybody knows the kit");
    lab
}

fn state(lab: &mut Lab, party: usize, of: &SigningKey) -> Result<Inspected, String> {
    let info = lab.group_info(party);
    Observer::new(mls::crypto()).inspect(&info, of.device_id()).map_err(|e| e.to_string())
}

/// The commit of somebody whose own library has no such scruples.
fn coming<P: mls_rs::CryptoProvider + Clone>(
    make: impl FnOnce() -> Result<Replaced<P>, PrepareError>,
) -> Result<Vec<u8>, String> {
    let made = without(&[Defence::RecoveryProof], make);
    Ok(made.map_err(|e| e.to_string())?.prepared.commit)
}

fn recover_without_key() -> Seen {
    let mut lab = with_kit(2, &kit(1));
    let conn = lab.open();
    let own = SigningKey::from_seed(&[66; 32]);
    let proof = Signature(attach::prove_recovery(&own, &exporter(conn)));
    let key = kit(1).signing_key().public();
    let answers = lab.raw(conn, ToRelay::Recover(Recover { version: VERSION, key, skip: 0, proof }));
    let shown = answers.iter().any(|frame| matches!(frame, FromRelay::Recoverable(_)));
    harm(!shown, "whoever has seen a group's settings is shown its members")?;
    Ok("shown nothing")
}

/// A relay in league lays the stranger's commit before the members. It has to leave no trace.
fn is_refused(mut lab: Lab, commit: &[u8], stranger: &SigningKey) -> Seen {
    lab.inject_commit(0, commit);
    lab.pass(MINUTE);
    lab.reconnect();
    let members: Vec<_> = lab.parties[0].device.members().into_iter().map(|m| m.device).collect();
    harm(!members.contains(&stranger.device_id()), "a stranger is in the group")?;
    harm(lab.met(0, Outcome::Forged), "it was not noticed")?;
    lab.push(0, "after");
    lab.pass(MINUTE);
    has_all(&lab, 1, &["before", "after"])?;
    Ok("refused by every member, and the group goes on")
}

fn come_in_without_key() -> Seen {
    let mut lab = with_kit(2, &kit(1));
    let (own, fresh) = (SigningKey::from_seed(&[66; 32]), SigningKey::from_seed(&[67; 32]));
    let state = state(&mut lab, 1, &fresh)?;
    let commit = coming(|| recover(mls::crypto(), state, &own, &fresh))?;
    is_refused(lab, &commit, &fresh)
}

/// What the kit's owner once signed stands in the log for all members to read.
fn replay_proof() -> Seen {
    let mut lab = with_kit(2, &kit(1));
    let (owner, fresh) = (SigningKey::from_seed(&[65; 32]), SigningKey::from_seed(&[66; 32]));
    let old = state(&mut lab, 1, &owner)?;
    let place = Place { group: &old.observed.group, epoch: old.observed.epoch, transcript: &old.transcript };
    let proof = ExternalProof::Recovery(sign_recovery(&kit(1).signing_key(), place, &owner.public()));
    lab.call(0, |device, now, rng| device.self_update(now, rng).expect("a member may renew its keys"));
    lab.run();
    let state = state(&mut lab, 1, &fresh)?;
    let commit = coming(|| come_in(mls::crypto(), state, &fresh, &proof, None, encode(&Cut::default())))?;
    is_refused(lab, &commit, &fresh)
}

/// The words were seen by a device that is out now, and there are new ones.
fn old_kit() -> Seen {
    let mut lab = with_kit(3, &kit(1));
    lab.disconnect(2);
    lab.remove(2);
    set(&mut lab, &kit(2));
    let fresh = SigningKey::from_seed(&[66; 32]);
    let conn = lab.open();
    let proof = Signature(attach::prove_recovery(&kit(1).signing_key(), &exporter(conn)));
    let key = kit(1).signing_key().public();
    let answers = lab.raw(conn, ToRelay::Recover(Recover { version: VERSION, key, skip: 0, proof }));
    let replaced = |frame: &FromRelay| matches!(frame, FromRelay::Refused(r) if r.code() == Code::KitReplaced);
    harm(answers.iter().any(replaced), "the relay does not say that there is a newer kit")?;
    // The relay in league shows it the state all the same.
    let state = state(&mut lab, 1, &fresh)?;
    let commit = coming(|| recover(mls::crypto(), state, &kit(1).signing_key(), &fresh))?;
    is_refused(lab, &commit, &fresh).map(|_| "refused")
}

/// Anybody who knows the recovery key's public half, as the relay does, can make a group that names it.
fn forge_state() -> Seen {
    let mut rng = lab_rng();
    let settings = Settings { app_id: b"attacks".to_vec(), ..Settings::default() };
    let mut new = NewDevice { name: "relay".into(), suite: Suite::FOUNDED, settings };
    new.settings.recovery_key = kit(1).signing_key().public().to_vec();
    let device = Device::found(new, mls::crypto(), 1_800_000_000_000, &mut rng).map_err(|e| e.to_string())?;
    let info = device.group_info().map_err(|e| e.to_string())?;
    // It does not have the MAC key, so that it says anything.
    let guess = state_mac(&[0; 32], unsigned_group_info(&info).ok_or("it is a GroupInfo")?);
    let answer = Recoverable { group_info: Opaque(info), macs: vec![guess, Mac([7; 32])], heads: vec![] };
    let mut recovering = Recovering::new(mls::crypto(), kit(1), "back", "attacks", "https://relay.example".into());
    for _ in 0..limits::KIT_GROUPS {
        match recovering.handle(answer.clone(), &[3; 32], &mut rng) {
            Ok(Arrival::Next(ToRelay::KitSnapshot(_))) => {
                return Err("the kit leads into a group of the relay's own".into());
            }
            Ok(Arrival::Next(_)) => {}
            Ok(Arrival::Made(..)) => return Err("the kit leads into a group of the relay's own".into()),
            Err(RecoveryError::Forged) => return Ok("nobody vouches for it, and nothing was sent"),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("it asks without end".into())
}

/// Whoever takes another MAC key vouches for nothing that the kit believes.
fn lie_about_share() -> Seen {
    let mut lab = Lab::with(3);
    lab.push(0, "before");
    // The first device's word does not come.
    let silent = Rc::new(Cell::new(true));
    let quiet = silent.clone();
    lab.up = Box::new(move |from, frame| match frame {
        ToRelay::Push(_) if from == 0 && quiet.get() => vec![],
        frame => vec![frame],
    });
    set(&mut lab, &kit(1));
    harm(!lab.parties[1].device.can_vouch(), "it has heard of the kit already")?;
    let false_share = KitShare { mac_key: [6; 32], seal_key: Opaque(vec![6; 1216]), signature: Signature([6; 64]) };
    let body = Body { control: vec![Control::Kit(false_share)], ..Body::default() };
    let epoch = lab.parties[2].device.epoch();
    let last = lab.last_of(2).map(|(_, head)| head);
    let envelope = lab.seal(2, epoch, last.as_ref(), &body);
    lab.inject(2, &envelope);
    harm(!lab.parties[1].device.can_vouch(), "a member decides what the others vouch with")?;
    silent.set(false);
    let told = |event: &Event| matches!(event, Event::SettingsChanged { .. });
    harm(lab.parties[1].events.iter().any(told), "nobody was told of the kit")?;
    Ok("not taken")
}

/// What a member leaves of a channel.
fn left(lab: &Lab, channel: &str, text: &str, kit: &RecoveryKit) -> SealedSnapshot {
    let (group, device) = (lab.group(0), lab.id(0));
    let share = kit.share(&mls::crypto(), Suite::FOUNDED, &group).expect("the suite is there");
    let snapshot = KitSnapshot {
        device,
        maker: device,
        at: lab.now,
        id: BlobId([channel.len() as u8; 16]),
        channel: Opaque(channel.into()),
        covers: vec![],
        data: Opaque(text.into()),
    };
    let key = kit.signing_key().public();
    seal_snapshot(&mls::crypto(), Suite::FOUNDED, &group, &key, &share, &snapshot).expect("it can be sealed")
}

/// Comes with the kit, and is shown this. Gives what came back, and how much was left out.
fn come_back(
    lab: &mut Lab,
    shown: impl IntoIterator<Item = SealedSnapshot>,
) -> Result<(Vec<String>, usize), RecoveryError> {
    let mut rng = lab_rng();
    let conn = lab.open();
    let mut recovering = Recovering::new(mls::crypto(), kit(1), "back", "attacks", "https://relay.example".into());
    let answers = lab.raw(conn, recovering.ask(&exporter(conn)));
    let answer = answers.into_iter().find_map(|frame| match frame {
        FromRelay::Recoverable(answer) => Some(answer),
        _ => None,
    });
    recovering.handle(answer.expect("the relay knows the kit"), &exporter(conn), &mut rng)?;
    for snapshot in shown.into_iter().map(Some).chain([None]) {
        recovering.handle_snapshot(snapshot, lab.now, &mut rng)?;
    }
    let text = |snapshot: &KitSnapshot| String::from_utf8_lossy(&snapshot.data).into_owned();
    Ok((recovering.snapshots().iter().map(text).collect(), recovering.left_out().len()))
}

/// The relay has got hold of the key to seal for, which is a public one.
fn forge_snapshot() -> Seen {
    let mut lab = with_kit(2, &kit(1));
    let (notes, other) = (left(&lab, "notes", "all of it", &kit(1)), left(&lab, "other", "the rest", &kit(1)));
    let mut forged = left(&lab, "notes", "what the relay likes", &kit(1));
    forged.mac = Mac([7; 32]);
    let mut short = notes.clone();
    short.sealed.0.pop();
    let swapped = SealedSnapshot { slot: other.slot, ..notes.clone() };
    let foreign = left(&lab, "notes", "of another kit", &kit(2));
    for bad in [forged, short, swapped, foreign] {
        let (back, left_out) = come_back(&mut lab, [bad]).map_err(|e| e.to_string())?;
        harm(back.is_empty() && left_out == 1, "the relay decides what comes back with the group")?;
    }
    let mut whole = vec![notes, other];
    whole.sort_by_key(|snapshot| snapshot.slot);
    let (mut back, left_out) = come_back(&mut lab, whole).map_err(|e| e.to_string())?;
    back.sort();
    harm(back == ["all of it", "the rest"] && left_out == 0, "what a member left does not come back")?;
    Ok("left out, and what a member left comes back")
}

fn endless_snapshots() -> Seen {
    let mut lab = with_kit(1, &kit(1));
    let notes = left(&lab, "notes", "all of it", &kit(1));
    let again = std::iter::repeat_n(notes.clone(), 4 * limits::KIT_SNAPSHOTS);
    let rising = (0..=limits::KIT_SNAPSHOTS).map(|n| {
        let mut slot = [0; 16];
        slot[..8].copy_from_slice(&(n as u64).to_be_bytes());
        SealedSnapshot { slot: SnapshotSlot(slot), ..notes.clone() }
    });
    for shown in [again.collect::<Vec<_>>(), rising.collect()] {
        match come_back(&mut lab, shown) {
            Err(RecoveryError::Endless) => {}
            Ok(_) => return Err("a relay keeps a recovery going, and its memory growing".into()),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok("left, and nothing was sent")
}

fn leave_too_much() -> Seen {
    let mut lab = with_kit(2, &kit(1));
    let (conn, _) = lab.attach_with_key_of(1);
    let (mut kept, mut last) = (0, None);
    for n in 0..2 * limits::KIT_SNAPSHOTS {
        let mut snapshot = left(&lab, "notes", "much", &kit(1));
        snapshot.slot = SnapshotSlot([n as u8; 16]);
        for frame in lab.raw(conn, ToRelay::Kit(KitUpload::Snapshot(snapshot))) {
            match frame {
                FromRelay::KitKept(_) => kept += 1,
                FromRelay::Refused(refused) => last = Some(refused.code()),
                _ => {}
            }
        }
    }
    harm(kept <= limits::KIT_SNAPSHOTS, "a member fills the relay's disk")?;
    harm(kept == limits::KIT_SNAPSHOTS && last == Some(Code::Quota), "the bound is another")?;
    Ok("refused with QUOTA")
}

fn lab_rng() -> rand_chacha::ChaCha20Rng {
    use rand_core::SeedableRng;
    rand_chacha::ChaCha20Rng::from_seed([9; 32])
}

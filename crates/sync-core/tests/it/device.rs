//! A device against a relay that this test plays by hand.

mod awaited;
mod copies;
mod history;
mod removal;

use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sync_core::store::{Answer, Key, LogBlob, Read, Write};
use sync_core::{Device, Event, Joining, NewDevice, Outcome, RelayId};
use sync_rules::mls::CommitMessage;
use sync_rules::{SigningKey, statement::sign_reject};
use sync_types::body::Blob;
use sync_types::frame::{
    About, Attached, Commit, Entry, EntryKind, FromRelay, Head, Refused, Reject, Signature, ToRelay,
};
use sync_types::settings::Settings;
use sync_types::{BlobId, Code, DeviceId, Envelope, Opaque, Suite, encode, limits};
use zeroize::Zeroizing;

const NOW: u64 = 1_800_000_000_000;

/// The device is to end its connection to the only relay.
fn leaves(code: Code) -> Event {
    Event::Disconnect { relay: RelayId::default(), code, retry_after_ms: 0 }
}

struct Lone {
    device: Device<sync_rules::mls::Crypto>,
    rng: ChaCha20Rng,
    /// The last entry that the relay has handed out.
    cursor: u64,
    /// The seed of a newcomer's key, so that a test can sign in its name.
    seed: [u8; 32],
    /// What the device has stored.
    rows: BTreeMap<Key, Zeroizing<Vec<u8>>>,
}

impl Lone {
    /// A device alone in its group, attached and caught up.
    fn online() -> Self {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let new = NewDevice { name: "Laptop".into(), suite: Suite::FOUNDED, settings: Settings::default() };
        let device = Device::found(new, sync_rules::mls::crypto(), NOW, &mut rng).unwrap();
        let mut lone = Self { device, rng, cursor: 0, seed: [0; 32], rows: BTreeMap::new() };
        lone.attach(None);
        lone
    }

    fn attach(&mut self, head: Option<Head>) {
        self.device.handle_connected(&[1; 32], None).unwrap();
        let epoch = self.device.epoch();
        self.hear(FromRelay::Attached(Attached { epoch, provisional: false, head, acknowledged: 0, newest: 0 }));
        self.hear(FromRelay::CaughtUp(0));
        self.store();
        self.device.take_sends();
    }

    /// Makes durable what the device wants to be, and gives it.
    fn store(&mut self) -> Vec<Write> {
        let writes = self.device.take_writes();
        for write in &writes {
            match write {
                Write::Put(key, value) => drop(self.rows.insert(*key, value.clone())),
                Write::Delete(key) => drop(self.rows.remove(key)),
                _ => {}
            }
        }
        writes
    }

    /// The process ends, and another takes up what was stored, at the same relay.
    fn restart(&mut self) {
        self.store();
        let rows = self.rows.clone().into_iter().collect();
        self.device = Device::load(rows, sync_rules::mls::crypto()).unwrap().expect("a device");
        self.come_online();
    }

    /// At a relay that has nothing new.
    fn come_online(&mut self) {
        let epoch = self.device.epoch();
        self.device.handle_connected(&[1; 32], None).unwrap();
        self.hear(FromRelay::Attached(Attached { epoch, provisional: true, head: None, acknowledged: 0, newest: 0 }));
        self.hear(FromRelay::CaughtUp(self.cursor));
    }

    fn hear_entry(&mut self, kind: EntryKind, bytes: &Opaque) {
        self.cursor += 1;
        self.hear(FromRelay::Deliver(vec![Entry { cursor: self.cursor, kind, bytes: bytes.clone() }]));
    }

    /// The commit that the device sends now, if it does.
    fn sent_commit(&mut self) -> Option<Commit> {
        self.device.take_sends().into_iter().find_map(|frame| match frame {
            ToRelay::Commit(commit) => Some(commit),
            _ => None,
        })
    }

    fn hear(&mut self, frame: FromRelay) {
        self.device.handle_frame(frame, NOW, &mut self.rng);
    }

    /// A device that was restored from a copy, which its last envelope at the relay will show; and that envelope's head.
    fn restored() -> (Self, Head) {
        let (mut lone, mut ahead) = (Self::online(), Self::online());
        assert_eq!(lone.device.id(), ahead.device.id(), "the same copy twice");
        let (envelope, _) = ahead.seal(&[row(1, "notes", b"hello".to_vec())]);
        let head = ahead.head_of(&envelope);
        lone.device.take_events();
        (lone, head)
    }

    fn newcomer(&mut self) -> Vec<u8> {
        Joining::new(sync_rules::mls::crypto(), Suite::FOUNDED, NOW, "Phone", &mut self.rng).unwrap().1
    }

    fn add(&mut self, key_package: Vec<u8>) -> Result<DeviceId, Code> {
        self.device.add(key_package, "Phone", NOW, &mut self.rng).map_err(|error| error.code())
    }

    /// Takes a second device in, and gives it with its Welcome behind it, attached and caught up.
    fn add_phone(&mut self) -> Self {
        let crypto = sync_rules::mls::crypto();
        let (mut joining, package) = Joining::new(crypto, Suite::FOUNDED, NOW, "Phone", &mut self.rng).unwrap();
        joining.take_offer(self.device.offer(NOW));
        // Behind the version stands the seed.
        let seed = std::array::from_fn(|i| joining.to_bytes()[1 + i]);
        self.add(package).unwrap();
        let commit = self.sent_commit().expect("the group is quiet");
        self.hear_entry(EntryKind::Commit, &commit.commit);
        self.hear(FromRelay::Confirmed(self.device.epoch()));
        let welcome = FromRelay::Welcome(commit.welcomes[0].welcome.clone());
        let device = joining.handle_frame(&welcome, NOW, &mut self.rng).unwrap().expect("its Welcome");
        let rng = ChaCha20Rng::from_seed([8; 32]);
        let mut phone = Self { device, rng, cursor: self.cursor, seed, rows: BTreeMap::new() };
        phone.come_online();
        phone
    }

    /// Hands out what the other has pushed since, and tells it that the relay has it.
    fn hear_pushes(&mut self, other: &mut Self) {
        for frame in other.device.take_sends() {
            let ToRelay::Push(envelopes) = frame else { continue };
            for bytes in envelopes {
                other.hear(FromRelay::Accepted(Envelope::parse(&bytes).unwrap().header.seq));
                self.hear_entry(EntryKind::Envelope, &bytes);
            }
        }
    }

    fn hear_refusal(&mut self, about: About, code: Code, head: Option<Head>) {
        let code = code as u16;
        self.hear(FromRelay::Refused(Refused { about, code, retry_after_ms: 0, head, message: Opaque::default() }));
    }

    /// The changes that the device has told as failed.
    fn failed_changes(&mut self) -> Vec<(DeviceId, Code)> {
        let failed = |event| match event {
            Event::ChangeFailed { device, code } => Some((device, code)),
            _ => None,
        };
        self.device.take_events().into_iter().filter_map(failed).collect()
    }

    /// Lets the device seal what it takes of these rows, and gives the envelope and the rows that it took.
    fn seal(&mut self, rows: &[LogBlob]) -> (Vec<u8>, usize) {
        assert!(matches!(self.device.next_read(NOW), Some(Read::Outbox { .. })));
        self.device.handle_read(Answer::Outbox(rows.to_vec()), NOW, &mut self.rng);
        let sealed = self.store().into_iter().find_map(|write| match write {
            Write::Sealed { envelope, up_to_position: Some(position), .. } => Some((envelope.0, position)),
            _ => None,
        });
        let (envelope, position) = sealed.expect("blobs were there to seal");
        let seq = Envelope::parse(&envelope).unwrap().header.seq;
        assert!(matches!(&self.device.take_sends()[..], [ToRelay::Push(_)]));
        self.hear(FromRelay::Accepted(seq));
        (envelope, rows.iter().filter(|row| row.position <= position).count())
    }

    fn head_of(&self, envelope: &[u8]) -> Head {
        let parsed = Envelope::parse(envelope).unwrap();
        let ciphertext_hash = sync_rules::envelope::ciphertext_hash(parsed.ciphertext);
        Head {
            seq: parsed.header.seq,
            hash: sync_rules::envelope::entry_hash(parsed.header_bytes, &ciphertext_hash, parsed.signature),
            header: Opaque(parsed.header_bytes.to_vec()),
            ciphertext_hash,
            signature: Signature(*parsed.signature),
        }
    }
}

fn row(position: u64, channel: &str, data: Vec<u8>) -> LogBlob {
    let blob =
        Blob { id: BlobId(u128::from(position * 1000).to_be_bytes()), channel: channel.into(), data, snapshot: false };
    LogBlob { position, sender: Default::default(), seq: 0, blob, covers: vec![] }
}

#[test]
fn many_tiny_blobs_with_long_channels_never_make_an_envelope_that_is_too_large() {
    let mut lone = Lone::online();
    let channels = ["a".repeat(limits::CHANNEL_BYTES), "b".repeat(limits::CHANNEL_BYTES)];
    let rows: Vec<LogBlob> = (1..=16_384).map(|i| row(i, &channels[i as usize % 2], vec![1; 16])).collect();
    let mut rest = &rows[..];
    while !rest.is_empty() {
        let (envelope, taken) = lone.seal(rest);
        assert!(envelope.len() <= limits::ENVELOPE_BYTES, "{} bytes", envelope.len());
        assert!(taken > 0);
        rest = &rest[taken..];
    }
}

#[test]
fn the_largest_blob_with_the_longest_channel_fits_one_envelope() {
    let mut lone = Lone::online();
    let rows = [row(1, &"c".repeat(limits::CHANNEL_BYTES), vec![9; limits::BLOB_BYTES])];
    let (envelope, taken) = lone.seal(&rows);
    assert!(envelope.len() <= limits::ENVELOPE_BYTES, "{} bytes", envelope.len());
    assert_eq!(taken, 1);
}

#[test]
fn a_relay_cannot_make_a_device_believe_that_it_was_rolled_back() {
    let mut lone = Lone::online();
    let (envelope, _) = lone.seal(&[row(1, "notes", b"hello".to_vec())]);
    let mut lie = lone.head_of(&envelope);
    lie.seq = u64::MAX;
    lone.device.take_events();
    lone.hear_refusal(About::Push, Code::Equivocation, Some(lie));
    assert_eq!(lone.device.status().halted, None);
    assert!(lone.device.take_events().contains(&leaves(Code::Protocol)));
    // What is true changes nothing either.
    let truth = lone.head_of(&envelope);
    lone.hear_refusal(About::Push, Code::BrokenChain, Some(truth));
    assert_eq!(lone.device.status().halted, None);
}

#[test]
fn a_device_restored_from_an_older_copy_is_told_by_its_own_signature() {
    let (mut older, head) = Lone::restored();
    older.attach(Some(head));
    assert_eq!(older.device.status().halted, Some(Code::RolledBack));
    assert!(older.device.next_read(NOW).is_none(), "nothing more is sealed");
}

#[test]
fn a_device_that_has_stopped_adds_nobody_and_says_so() {
    let (mut older, head) = Lone::restored();
    let (early, late) = (older.newcomer(), older.newcomer());
    older.device.handle_disconnected();
    let newcomer = older.add(early).unwrap();
    assert!(older.device.is_adding());
    older.attach(Some(head));
    // Whoever waits for the one that was queued hears that it comes to nothing, and why.
    assert_eq!(older.failed_changes(), [(newcomer, Code::RolledBack)]);
    assert!(!older.device.is_adding());
    assert_eq!(older.add(late), Err(Code::RolledBack));
    assert!(!older.device.is_adding());
    assert_eq!(older.device.self_update(NOW, &mut older.rng).unwrap_err().code(), Code::RolledBack);
}

#[test]
fn a_device_that_has_stopped_is_not_woken_for_keys_that_it_will_not_renew() {
    let (mut older, head) = Lone::restored();
    older.add_phone();
    let in_two_weeks = NOW + 14 * 24 * 3600 * 1000;
    assert!(older.device.next_timeout().is_some_and(|at| at < in_two_weeks));
    older.hear_refusal(About::Push, Code::BrokenChain, Some(head));
    older.device.handle_timeout(in_two_weeks, &mut older.rng);
    assert!(older.device.next_timeout().is_none_or(|at| at > in_two_weeks));
    assert_eq!(older.failed_changes(), []);
}

#[test]
fn an_add_that_the_relay_may_have_ordered_is_not_given_up_before_the_relay_has_answered() {
    let (mut older, head) = Lone::restored();
    let package = older.newcomer();
    let newcomer = older.add(package).unwrap();
    assert!(older.device.take_sends().iter().any(|frame| matches!(frame, ToRelay::Commit(_))));
    older.hear_refusal(About::Push, Code::BrokenChain, Some(head.clone()));
    assert_eq!(older.device.status().halted, Some(Code::RolledBack));
    assert_eq!(older.failed_changes(), []);
    // Nor when the answer is lost: what the relay hands out next may hold the commit.
    older.device.handle_disconnected();
    older.device.handle_connected(&[1; 32], None).unwrap();
    older.hear(FromRelay::Attached(Attached {
        epoch: 0,
        provisional: false,
        head: Some(head),
        acknowledged: 0,
        newest: 0,
    }));
    assert_eq!(older.failed_changes(), []);
    older.hear(FromRelay::CaughtUp(0));
    assert_eq!(older.failed_changes(), [(newcomer, Code::RolledBack)]);
    assert!(!older.device.is_adding() && !older.device.status().changing);
}

#[test]
fn an_epoch_that_no_commit_begins_is_asked_about_and_stops_nobody() {
    let mut lone = Lone::online();
    lone.device.handle_connected(&[1; 32], None).unwrap();
    lone.hear(FromRelay::Attached(Attached { epoch: 9, provisional: false, head: None, acknowledged: 0, newest: 0 }));
    lone.hear(FromRelay::CaughtUp(0));
    assert_eq!(lone.device.status().halted, None);
    assert!(matches!(lone.device.take_sends().last(), Some(ToRelay::GroupInfo(None))));
    // What the relay gives is no state that anybody has signed.
    lone.hear(FromRelay::GroupInfo(Opaque(vec![1; 100])));
    assert_eq!(lone.device.status().halted, None);
}

#[test]
fn a_relay_that_lost_the_group_or_changes_of_it_is_given_its_state() {
    let mut laptop = Lone::online();
    laptop.add_phone();
    let lost = |laptop: &mut Lone| {
        assert!(laptop.device.take_events().contains(&leaves(Code::UnknownGroup)));
        laptop.device.handle_disconnected();
        laptop.device.handle_connected(&[1; 32], None).unwrap();
        assert!(matches!(&laptop.device.take_sends()[..], [ToRelay::Create(_)]));
    };
    laptop.hear_refusal(About::Session, Code::UnknownGroup, None);
    lost(&mut laptop);
    laptop.attach(None);
    assert!(matches!(&laptop.device.take_sends()[..], []));

    // One that knows the group as it was before the phone came.
    laptop.device.handle_disconnected();
    laptop.device.handle_connected(&[1; 32], None).unwrap();
    laptop.device.take_events();
    let head = None;
    laptop.hear(FromRelay::Attached(Attached { epoch: 0, provisional: false, head, acknowledged: 0, newest: 0 }));
    assert!(!laptop.device.status().online);
    lost(&mut laptop);
}

#[test]
fn history_that_cannot_be_read_waits_and_the_outbox_goes_on() {
    let mut laptop = Lone::online();
    let mut blob = row(1, "notes", b"from before".to_vec());
    laptop.seal(std::slice::from_ref(&blob));
    (blob.sender, blob.seq) = (laptop.device.id(), 1);
    let mut phone = laptop.add_phone();
    laptop.hear_pushes(&mut phone);
    let mut now = NOW;
    let mut wait = 0;
    for _ in 0..12 {
        assert!(matches!(laptop.device.next_read(now), Some(Read::History { .. })));
        laptop.device.history_failed(now);
        laptop.device.handle_pushed();
        assert!(matches!(laptop.device.next_read(now), Some(Read::Outbox { .. })), "the outbox goes on at once");
        laptop.device.handle_read(Answer::Outbox(vec![]), now, &mut laptop.rng);
        assert_eq!(laptop.device.next_read(now), None);
        // It comes again by itself, later each time, and within a minute.
        let again = laptop.device.next_timeout().expect("a time to try again");
        assert!(again > now + wait || again == now + 60_000, "{} ms after {wait}", again - now);
        (wait, now) = (again - now, again);
        laptop.device.handle_timeout(now, &mut laptop.rng);
        assert!(laptop.device.next_timeout().is_none_or(|at| at > now), "what is due is no reason to be woken");
    }
    assert_eq!(wait, 60_000);
    while let Some(Read::History { after, .. }) = laptop.device.next_read(now) {
        let rows = if after.position == 0 { vec![blob.clone()] } else { vec![] };
        laptop.device.handle_read(Answer::History(rows), now, &mut laptop.rng);
    }
    phone.device.take_events();
    phone.hear_pushes(&mut laptop);
    assert!(phone.device.take_events().contains(&Event::Synced));
}

/// The relay refused it on this connection, and took it from the one before.
/// Two devices, of which one has pushed and the other has signed for it; and the time then.
fn delivered() -> (Lone, u64) {
    let mut laptop = Lone::online();
    let mut phone = laptop.add_phone();
    laptop.device.take_sends();
    assert!(matches!(laptop.device.next_read(NOW), Some(Read::Outbox { .. })));
    laptop.device.handle_read(Answer::Outbox(vec![row(1, "notes", b"hello".to_vec())]), NOW, &mut laptop.rng);
    let Some(ToRelay::Push(sent)) = laptop.device.take_sends().pop() else { panic!("it is sent") };
    let (seq, envelope) = (1, sent[0].clone());
    // It arrives, but its answer does not.
    laptop.device.handle_disconnected();
    laptop.attach(None);
    assert!(matches!(laptop.device.next_read(NOW), Some(Read::Sealed { from_seq, .. }) if from_seq == seq));
    laptop.device.handle_read(Answer::Sealed(vec![(seq, envelope.clone())]), NOW, &mut laptop.rng);
    laptop.store();
    laptop.device.take_sends();
    laptop.hear_refusal(About::Push, Code::Internal, None);
    phone.hear_entry(EntryKind::Envelope, &envelope);
    phone.store();
    for frame in phone.device.take_sends() {
        if let ToRelay::Acknowledge(acknowledge) = frame {
            laptop.hear(FromRelay::Receipt(acknowledge.statement));
        }
    }
    assert_eq!(laptop.device.delivered_seq(), seq);
    (laptop, NOW + 60_000)
}

#[test]
fn what_all_have_signed_for_is_not_sent_again() {
    let (mut laptop, later) = delivered();
    laptop.device.handle_timeout(later, &mut laptop.rng);
    assert!(!matches!(laptop.device.next_read(later), Some(Read::Sealed { .. })), "it is not there any more");
    assert_eq!(laptop.device.status().halted, None);
}

#[test]
fn history_that_cannot_be_read_for_one_device_comes_to_the_next() {
    let mut laptop = Lone::online();
    laptop.seal(&[row(1, "notes", b"from before".to_vec())]);
    for _ in 0..2 {
        let mut phone = laptop.add_phone();
        laptop.hear_pushes(&mut phone);
    }
    for _ in 0..2 {
        assert!(matches!(laptop.device.next_read(NOW), Some(Read::History { .. })), "nobody waits for the other");
        laptop.device.history_failed(NOW);
    }
    assert!(matches!(laptop.device.next_read(NOW), Some(Read::Outbox { .. })));
}

#[test]
fn history_that_went_with_the_last_device_that_held_it_is_told_as_lost_and_kept_on_record() {
    let mut laptop = Lone::online();
    laptop.seal(&[row(1, "notes", b"from before".to_vec())]);
    let mut phone = laptop.add_phone();
    assert_eq!(phone.device.status().wants, 1);
    let gone = laptop.device.id();
    phone.device.remove(gone, NOW, &mut phone.rng).unwrap();
    let removal = phone.sent_commit().expect("the group is quiet");
    phone.hear_entry(EntryKind::Commit, &removal.commit);
    phone.store();
    phone.device.take_events();
    phone.hear(FromRelay::Confirmed(phone.device.epoch()));
    let told = phone.device.take_events();
    assert!(told.contains(&Event::Unusual { outcome: Outcome::HistoryLost, sender: Some(gone) }), "{told:?}");
    let on_record = |write: &Write| matches!(write, Write::Refused(entry) if entry.outcome == Outcome::HistoryLost);
    assert!(phone.store().iter().any(on_record));
    assert_eq!(phone.device.status().wants, 0, "nothing waits for it any more");
}

#[test]
fn a_device_that_leaves_wants_to_after_a_restart_until_it_decides_to_stay() {
    let mut laptop = Lone::online();
    let mut phone = laptop.add_phone();
    phone.device.leave(NOW, &mut phone.rng).unwrap();
    phone.restart();
    assert!(phone.device.is_leaving());
    phone.device.stay();
    phone.restart();
    assert!(!phone.device.is_leaving());
}

/// Three devices. The laptop's commit is on its way when another one is ordered before it, which is then rejected: so the
/// relay may order the laptop's after all.
struct Race {
    laptop: Lone,
    lost: Commit,
    winner: Opaque,
    reject: Opaque,
}

impl Race {
    fn new() -> Self {
        let mut laptop = Lone::online();
        let (phone, mut tablet) = (laptop.add_phone(), laptop.add_phone());
        laptop.device.self_update(NOW, &mut laptop.rng).unwrap();
        let lost = laptop.sent_commit().expect("the group is quiet");
        tablet.device.self_update(NOW, &mut tablet.rng).unwrap();
        let winner = tablet.sent_commit().expect("the group is quiet").commit;
        let mut reject = Reject {
            device: phone.device.id(),
            epoch: laptop.device.epoch() + 1,
            commit_hash: CommitMessage::hash(&winner),
            signature: Signature([0; 64]),
        };
        sign_reject(&SigningKey::from_seed(&phone.seed), &laptop.device.group(), &mut reject);
        Self { laptop, lost, winner, reject: Opaque(encode(&reject)) }
    }

    fn win_and_reject(&mut self, between: impl FnOnce(&mut Lone)) {
        self.laptop.hear_entry(EntryKind::Commit, &self.winner);
        between(&mut self.laptop);
        self.laptop.device.take_sends();
        self.laptop.hear_entry(EntryKind::Reject, &self.reject);
    }

    /// The relay has ordered the laptop's commit: it is applied as any other.
    fn wins_after_all(mut self) {
        let epoch = self.laptop.device.epoch();
        self.laptop.hear_entry(EntryKind::Commit, &self.lost.commit);
        self.laptop.hear(FromRelay::Confirmed(epoch + 1));
        let status = self.laptop.device.status();
        assert_eq!((status.halted, status.epoch, status.changing), (None, epoch + 1, false));
        // Nothing is left that would swallow what the relay says of the next one.
        self.laptop.device.self_update(NOW, &mut self.laptop.rng).unwrap();
        self.laptop.sent_commit().expect("the group is quiet");
        self.laptop.hear_refusal(About::Commit, Code::CommitRefused, None);
        assert!(!self.laptop.device.status().changing);
    }
}

#[test]
fn a_commit_that_lost_to_one_that_is_rejected_may_be_ordered_after_all() {
    let mut race = Race::new();
    race.win_and_reject(|_| ());
    assert!(race.laptop.sent_commit().is_none(), "it is on its way already");
    race.wins_after_all();
}

#[test]
fn nothing_is_acknowledged_that_the_baseline_of_a_commit_which_may_come_back_does_not_hold() {
    let mut laptop = Lone::online();
    let mut tablet = laptop.add_phone();
    laptop.store();
    laptop.device.take_sends();
    let package = laptop.newcomer();
    laptop.add(package).unwrap();
    laptop.store();
    laptop.sent_commit().expect("the group is quiet");
    tablet.device.self_update(NOW, &mut tablet.rng).unwrap();
    let winner = tablet.sent_commit().expect("the group is quiet").commit;
    laptop.hear_entry(EntryKind::Commit, &winner);
    laptop.store();
    let acknowledges = |lone: &mut Lone| lone.device.take_sends().iter().any(|f| matches!(f, ToRelay::Acknowledge(_)));
    assert!(!acknowledges(&mut laptop));
    // The relay will not undo it any more.
    laptop.hear(FromRelay::Confirmed(laptop.device.epoch()));
    laptop.store();
    assert!(!acknowledges(&mut laptop), "the newcomer is added anew, and nothing has changed for it");
    assert!(laptop.device.status().changing);
}

#[test]
fn a_commit_that_was_refused_for_one_that_is_rejected_is_sent_again_as_it_was() {
    let mut race = Race::new();
    race.win_and_reject(|laptop| laptop.hear_refusal(About::Commit, Code::Provisional, None));
    assert_eq!(race.laptop.sent_commit().map(|commit| commit.commit), Some(race.lost.commit.clone()));
    race.wins_after_all();
}

#[test]
fn a_commit_that_lost_to_one_that_is_rejected_outlives_a_restart() {
    let mut race = Race::new();
    race.win_and_reject(Lone::restart);
    assert_eq!(race.laptop.sent_commit().map(|commit| commit.commit), Some(race.lost.commit.clone()));
    race.wins_after_all();
}

#[test]
fn a_commit_that_is_refused_after_the_one_that_beat_it_was_rejected_is_made_anew() {
    let mut race = Race::new();
    race.win_and_reject(|_| ());
    race.laptop.hear_refusal(About::Commit, Code::StaleEpoch, None);
    race.laptop.device.handle_timeout(NOW + 1_000, &mut race.laptop.rng);
    let anew = race.laptop.sent_commit().expect("the change is still wanted");
    assert_ne!(anew.commit, race.lost.commit);
}

#[test]
fn a_relay_that_has_forgotten_what_all_have_is_left_and_stops_nobody() {
    let (mut laptop, later) = delivered();
    laptop.device.handle_disconnected();
    laptop.attach(None);
    laptop.device.take_events();
    assert!(matches!(laptop.device.next_read(later), Some(Read::Sealed { from_seq: 1, .. })));
    laptop.device.handle_read(Answer::Sealed(vec![]), later, &mut laptop.rng);
    let events = laptop.device.take_events();
    assert!(events.contains(&leaves(Code::Protocol)), "{events:?}");
    assert_eq!(laptop.device.status().halted, None);
}

#[test]
fn the_keys_of_an_epoch_are_erased_in_time_without_a_connection_too() {
    let mut lone = Lone::online();
    let phone = lone.add_phone();
    // Nobody has sealed anything since, so that the epoch before may still be needed.
    lone.device.self_update(NOW, &mut lone.rng).unwrap();
    let commit = lone.sent_commit().expect("the group is quiet");
    lone.hear_entry(EntryKind::Commit, &commit.commit);
    lone.hear(FromRelay::Confirmed(lone.device.epoch()));
    drop(phone);
    lone.store();
    assert!(lone.rows.contains_key(&Key::Epoch(1)));

    lone.device.handle_disconnected();
    let at = lone.device.next_timeout().expect("a key is to be erased");
    assert_eq!(at, NOW + limits::EPOCH_KEY_RETENTION.as_millis() as u64);
    lone.device.handle_timeout(at, &mut lone.rng);
    lone.store();
    assert!(!lone.rows.contains_key(&Key::Epoch(1)));
    assert!(lone.rows.contains_key(&Key::Epoch(2)));
    assert_eq!(lone.device.next_timeout(), None);
}

//! A device against a relay that this test plays by hand.

use mls_rs_crypto_awslc::AwsLcCryptoProvider;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sync_core::store::{Answer, LogBlob, Read, Write};
use sync_core::{Device, Event, NewDevice};
use sync_types::body::Blob;
use sync_types::frame::{About, Attached, FromRelay, Head, Refused, Signature, ToRelay};
use sync_types::settings::Settings;
use sync_types::{BlobId, Code, Envelope, Opaque, limits};

const NOW: u64 = 1_800_000_000_000;

struct Lone {
    device: Device<AwsLcCryptoProvider>,
    rng: ChaCha20Rng,
}

impl Lone {
    /// A device alone in its group, attached and caught up.
    fn online() -> Self {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let new = NewDevice { name: "Laptop".into(), settings: Settings::default() };
        let device = Device::found(new, sync_rules::mls::crypto(), NOW, &mut rng).unwrap();
        let mut lone = Self { device, rng };
        lone.attach(None);
        lone
    }

    fn attach(&mut self, head: Option<Head>) {
        self.device.handle_connected(&[1; 32], None).unwrap();
        self.hear(FromRelay::Attached(Attached { epoch: 0, provisional: 0, head, acknowledged: 0, newest: 0 }));
        self.hear(FromRelay::CaughtUp(0));
        self.device.take_writes();
        self.device.take_sends();
    }

    fn hear(&mut self, frame: FromRelay) {
        self.device.handle_frame(frame, NOW, &mut self.rng);
    }

    /// Lets the device seal what it takes of these rows, and gives the envelope and the rows that it took.
    fn seal(&mut self, rows: &[LogBlob]) -> (Vec<u8>, usize) {
        assert!(matches!(self.device.next_read(NOW), Some(Read::Outbox { .. })));
        self.device.handle_read(Answer::Outbox(rows.to_vec()), NOW, &mut self.rng);
        let sealed = self.device.take_writes().into_iter().find_map(|write| match write {
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
    let blob = Blob { id: BlobId(u128::from(position * 1000).to_be_bytes()), channel: channel.into(), data };
    LogBlob { position, sender: Default::default(), seq: 0, blob }
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
    let refused = |head: &Head, code: Code| {
        FromRelay::Refused(Refused {
            about: About::Push,
            code: code as u16,
            retry_after_ms: 0,
            head: Some(head.clone()),
            message: Opaque::default(),
        })
    };
    lone.device.take_events();
    lone.hear(refused(&lie, Code::Equivocation));
    assert_eq!(lone.device.status().halted, None);
    assert!(lone.device.take_events().contains(&Event::Disconnect { code: Code::Protocol, retry_after_ms: 0 }));
    // What is true changes nothing either.
    let truth = lone.head_of(&envelope);
    lone.hear(refused(&truth, Code::BrokenChain));
    assert_eq!(lone.device.status().halted, None);
}

#[test]
fn a_device_restored_from_an_older_copy_is_told_by_its_own_signature() {
    let mut lone = Lone::online();
    let mut older = Lone::online();
    assert_eq!(lone.device.id(), older.device.id(), "the same copy twice");
    let (envelope, _) = lone.seal(&[row(1, "notes", b"hello".to_vec())]);
    let head = lone.head_of(&envelope);
    older.attach(Some(head));
    assert_eq!(older.device.status().halted, Some(Code::RolledBack));
    assert!(older.device.next_read(NOW).is_none(), "nothing more is sealed");
}

#[test]
fn an_epoch_that_no_commit_begins_ends_the_session_and_nothing_else() {
    let mut lone = Lone::online();
    lone.device.handle_connected(&[1; 32], None).unwrap();
    lone.hear(FromRelay::Attached(Attached { epoch: 9, provisional: 0, head: None, acknowledged: 0, newest: 0 }));
    lone.hear(FromRelay::CaughtUp(0));
    assert_eq!(lone.device.status().halted, None);
    assert!(lone.device.take_events().contains(&Event::Disconnect { code: Code::Protocol, retry_after_ms: 0 }));
}

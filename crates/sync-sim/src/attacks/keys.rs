//! A newcomer, or the member that adds it, that puts a key into the group's tree that nobody can encrypt to.

use std::ops::Range;

use mls_rs::{CipherSuiteProvider, CryptoProvider};
use sync_core::{Event, Joining};
use sync_rules::{Defence, SigningKey, mls};
use sync_types::{Code, DeviceId, Opaque, Suite, encode};

use super::lab::Lab;
use super::{Attack, By, SECOND, Seen, harm};

pub(super) const ATTACKS: &[Attack] = &[attack("weak keys", "not added", &[Defence::TreeKeys], weak_keys)];

const fn attack(
    name: &'static str,
    expected: &'static str,
    defences: &'static [Defence],
    scene: fn() -> Seen,
) -> Attack {
    Attack { by: By::Member, name, expected, defences, scene }
}

/// Goes through a message of MLS (RFC 9420 §2.1).
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The bytes of the next vector.
    fn vector(&mut self) -> Range<usize> {
        let first = self.bytes[self.at];
        let size = 1 << (first >> 6);
        let number =
            self.bytes[self.at..self.at + size].iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        let length = number & ((1 << (8 * size - 2)) - 1);
        let begin = self.at + size;
        self.at = begin + length;
        begin..self.at
    }
}

/// Where the parts of a key package are (RFC 9420 §10).
struct Parts {
    /// The leaf's key, X25519's share of it last.
    key: Range<usize>,
    /// The id in the credential.
    id: Range<usize>,
    leaf: Range<usize>,
    leaf_signature: Range<usize>,
    all: Range<usize>,
    signature: Range<usize>,
}

fn parts(package: &[u8]) -> Parts {
    // Behind the kind of message, the version and the suite.
    let begin = 4;
    let mut reader = Reader { bytes: package, at: begin + 4 };
    reader.vector();
    let leaf = reader.at;
    let key = reader.vector();
    reader.vector();
    // The kind of credential, the credential, and five lists of capabilities.
    reader.at += 2;
    let id = reader.vector();
    for _ in 0..5 {
        reader.vector();
    }
    // From when and until when it is good.
    reader.at += 1 + 16;
    reader.vector();
    let leaf = leaf..reader.at;
    let leaf_signature = reader.vector();
    reader.vector();
    let all = begin..reader.at;
    let signature = reader.vector();
    Parts { key, id, leaf, leaf_signature, all, signature }
}

/// Signs a key package that was altered.
fn sign_again(package: &mut [u8], parts: Parts, key: &SigningKey) -> Result<(), String> {
    let suite = mls::crypto().cipher_suite_provider(mls::CIPHER_SUITE).ok_or("there is a suite")?;
    let mut sign = |label: &str, content: Range<usize>, to: Range<usize>| {
        let content = [format!("MLS 1.0 {label}").into_bytes(), package[content].to_vec()].map(Opaque);
        let content = content.map(|part| encode(&part)).concat();
        let signed = suite.sign(&mls::secret_key(key), &content).map_err(|e| e.to_string())?;
        package[to].copy_from_slice(&signed);
        Ok::<_, String>(())
    };
    sign("LeafNodeTBS", parts.leaf, parts.leaf_signature)?;
    sign("KeyPackageTBS", parts.all, parts.signature)
}

/// Turns the leaf's X25519 key into the point zero.
fn weaken(package: &mut [u8], key: &SigningKey) -> Result<(), String> {
    let parts = parts(package);
    package[parts.key.end - 32..parts.key.end].fill(0);
    sign_again(package, parts, key)
}

/// Puts another id into the credential.
pub(super) fn forge_id(package: &mut [u8], key: &SigningKey, id: DeviceId) -> Result<(), String> {
    let parts = parts(package);
    package[parts.id.clone()].copy_from_slice(id.as_bytes());
    sign_again(package, parts, key)
}

fn weak_keys() -> Seen {
    let mut lab = Lab::with(2);
    let mut newcomer = Err("nothing was done".to_owned());
    lab.call(0, |device, now, rng| {
        let joining = Joining::new(mls::crypto(), Suite::FOUNDED, now, "phone", rng).map_err(|e| e.to_string());
        newcomer = joining.and_then(|(joining, mut package)| {
            let seed = joining.to_bytes()[1..33].try_into().expect("the seed stands behind the version");
            weaken(&mut package, &SigningKey::from_seed(&seed))?;
            device.add(package, "phone", now, rng).map_err(|e| e.to_string())
        });
    });
    let newcomer = newcomer?;
    lab.run();
    lab.pass(15 * SECOND);
    let epoch = lab.parties[1].device.epoch();
    lab.call(1, |device, now, rng| device.self_update(now, rng).expect("a member may renew its keys"));
    lab.run();
    lab.pass(15 * SECOND);
    harm(lab.parties[0].device.epoch() > epoch, "no other member can change the group any more")?;
    let told = Event::ChangeFailed { device: newcomer, code: Code::CommitRefused };
    harm(lab.parties[0].events.contains(&told), "it was refused for something else")?;
    Ok("not added")
}

//! Every bound of the protocol. A relay may be configured tighter, never wider.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The largest blob that travels in an envelope, in bytes.
pub const BLOB_BYTES: usize = MIB;
/// The largest blob that an app may push, in bytes: beyond [`BLOB_BYTES`] it goes as large content.
pub const LARGE_BLOB_BYTES: usize = 64 * MIB;
/// The largest envelope, in bytes, header and signature included.
pub const ENVELOPE_BYTES: usize = MIB + 256 * KIB;
/// How many senders' envelopes one snapshot may stand for.
pub const COVERS: usize = 1024;
/// How many bytes of waiting blobs are packed into one envelope. A larger blob travels alone.
pub const PACK_BYTES: usize = 256 * KIB;
/// How many blobs one envelope may hold.
pub const PACK_BLOBS: usize = 16 * KIB;
/// The least size of an envelope's plaintext, padding included, in bytes.
pub const PADDED_MIN_BYTES: usize = 256;
/// The longest channel name, in bytes of UTF-8.
pub const CHANNEL_BYTES: usize = 256;
/// The longest device name, in bytes of UTF-8.
pub const NAME_BYTES: usize = 128;
/// The longest app id, in bytes of UTF-8.
pub const APP_ID_BYTES: usize = 128;
/// The largest presence payload, in bytes.
pub const PRESENCE_BYTES: usize = KIB;
/// The largest frame on a connection, in bytes, behind its 4-byte length.
pub const FRAME_BYTES: usize = 4 * MIB;
/// How many envelopes a device may push in one frame. A device of ours sends about half as many at once, of the smallest.
pub const PUSH_ENVELOPES: usize = 4 * KIB;
/// The largest commit, in bytes. One that adds 127 devices at once has about half of it.
pub const COMMIT_BYTES: usize = MIB;
/// How many messages between engines one envelope may hold. A device of ours says less than a dozen at once.
pub const CONTROL_MESSAGES: usize = 64;
/// How many bytes of entries a relay puts into one frame before it starts another.
pub const DELIVER_BYTES: usize = MIB;
/// The largest acknowledgement that a member signs, in bytes. A relay writes one once for each sender that it names.
pub const STATEMENT_BYTES: usize = 64 * KIB;
/// How many members a group may have.
pub const MEMBERS: usize = 128;
/// How many commits one device tells a relay of at once that has not ordered them.
pub const COPIED_COMMITS: usize = 32;
/// How many relays a group's settings may name.
pub const RELAYS: usize = 8;
/// The largest HPKE public key of a recovery kit, in bytes. One of X-Wing has 1,216.
pub const KIT_SEAL_KEY_BYTES: usize = 2 * KIB;
/// How many groups with one recovery key are looked at: the first that its members vouch for is the one.
pub const KIT_GROUPS: u8 = 8;
/// The largest snapshot for a recovery kit, sealed, in bytes: a blob, what it covers, padding.
pub const KIT_SNAPSHOT_BYTES: usize = ENVELOPE_BYTES;
/// How many snapshots a relay keeps for a group's recovery kit.
pub const KIT_SNAPSHOTS: usize = 64;
/// How many bytes they may have together.
pub const KIT_SNAPSHOTS_BYTES: usize = 16 * MIB;
/// The longest relay address, in bytes.
pub const ADDRESS_BYTES: usize = 512;
/// The longest URL that a device is woken at, in bytes.
pub const WAKE_ENDPOINT_BYTES: usize = KIB;
/// The longest token that a push service of a platform gives a device, in bytes.
pub const WAKE_TOKEN_BYTES: usize = 4 * KIB;

/// The most bytes that sealed content may have.
pub const CONTENT_BYTES: u64 = 1 << 45;
/// How much content a device says at once that it has.
pub const CONTENT_HAD: usize = 256;
/// How many places in the network a device says it is at, to hand content to others itself.
pub const DOOR_PLACES: usize = 16;
/// The longest name of a file, in bytes of UTF-8.
pub const FILE_NAME_BYTES: usize = 1_024;

/// Numbers of epochs, envelopes, cursors and requests stay below this, so that one can be added to any of them and every
/// store can hold them.
pub const NUMBER: u64 = 1 << 62;

/// How long a pairing link is worth something.
pub const PAIRING_TTL: Duration = Duration::from_secs(600);
/// How many messages one party may lay down in a rendezvous.
pub const PAIRING_MESSAGES: usize = 16;
/// The largest message in a rendezvous, in bytes.
pub const PAIRING_MESSAGE_BYTES: usize = 64 * KIB - 1;
/// The largest nameplate, which is the number in a short code. The smallest is 1.
pub const NAMEPLATE: u32 = 999_999;
/// How many nameplates one network may come to at once; then one each minute.
pub const NAMEPLATE_TRIES: u32 = 10;
/// How often a person may type a check code.
pub const CHECK_CODE_TRIES: u8 = 2;

/// How long a relay may take to answer, beside the time that the bytes take on a line of 4 KiB a second.
pub const ANSWER: Duration = Duration::from_secs(60);

/// How long a commit is provisional at the most.
pub const PROVISIONAL: Duration = Duration::from_secs(10);
/// How long an epoch's key is kept after this device applied the commit that ended it.
pub const EPOCH_KEY_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often a device renews its own leaf.
pub const SELF_UPDATE_EVERY: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many envelopes of its own a device seals before it renews its leaf.
pub const SELF_UPDATE_ENVELOPES: u64 = 65_536;
/// How long a former member's last commits are kept for it.
pub const FORMER_MEMBER_RETENTION: Duration = Duration::from_secs(180 * 24 * 3600);
/// How long closing may take to send what waits.
pub const FLUSH_ON_CLOSE: Duration = Duration::from_millis(300);
/// How long an app's exit may wait for closing, all in all. With the end of the window and of the process it stays below 500 ms.
pub const CLOSE: Duration = Duration::from_millis(400);
/// How many bytes of its own sealed envelopes a device sends before the relay has accepted them.
pub const IN_FLIGHT_BYTES: usize = 8 * MIB;
/// How long a newcomer waits for history from one member before it asks another, while connected.
pub const HISTORY_PATIENCE: Duration = Duration::from_secs(30);
/// How long what a relay should have handed out is waited for before its senders are asked to send it again.
pub const REPAIR_AFTER: Duration = Duration::from_secs(2);
/// How long each step of a repair waits for an answer.
pub const REPAIR_PATIENCE: Duration = Duration::from_secs(10);
/// How long a repair that nobody could help with rests before it begins again.
pub const REPAIR_AGAIN: Duration = Duration::from_secs(3600);
/// How often a device states its whole frontier while it is connected.
pub const BEACON_EVERY: Duration = Duration::from_secs(6 * 3600);
/// How long ago the last beacon has to be for another one on connecting.
pub const BEACON_REST: Duration = Duration::from_secs(3600);
/// How long after a device renewed its keys because another asked for it, it does not do so again.
pub const RENEW_REST: Duration = Duration::from_secs(600);
/// How long after a device took a new key it takes no other on somebody's bare word.
pub const REPLACE_KEY_REST: Duration = Duration::from_secs(3600);
/// How long nothing may have been heard of a member before it is called stale.
pub const STALE_PEER: Duration = Duration::from_secs(14 * 24 * 3600);

/// The longest passphrase, in bytes of UTF-8.
pub const PASSPHRASE_BYTES: usize = KIB;
/// The shortest new passphrase, in characters.
pub const PASSPHRASE_CHARS: usize = 8;
/// The least memory that a passphrase's derivation fills, in KiB.
pub const KDF_MEMORY_MIN_KIB: u32 = 12 * 1024;
/// The most memory that it may fill, in KiB.
pub const KDF_MEMORY_MAX_KIB: u32 = 256 * 1024;
/// How often it may go through that memory.
pub const KDF_PASSES_MAX: u8 = 10;
/// The least that it does: memory in KiB, times passes.
pub const KDF_WORK_MIN_KIB: u64 = 36 * 1024;
/// The plaintext of a backup's chunk, in bytes; the last may be shorter. With its tag it is 64 KiB.
pub const BACKUP_CHUNK_BYTES: usize = 64 * KIB - 16;
/// How long a relay hears nothing of a device until that holds back nothing any more; at the most, as nobody has the keys of
/// what it would keep. Each device's own measure of the others, too.
pub const MAX_LAG: Duration = EPOCH_KEY_RETENTION;
/// How long nothing may have been heard of a member before the others put it out.
pub const EXPIRE_PEER: Duration = Duration::from_secs(180 * 24 * 3600);
/// How long after the first of them each further member waits to put out one that has expired.
pub const EXPIRE_TURN: Duration = Duration::from_secs(24 * 3600);
/// How much of the time between two connections a device counts as silence of the others, at the most.
pub const LISTEN_STEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often a device calls the roll anew while it misses something.
pub const ROLL_CALL_EVERY: Duration = Duration::from_secs(3600);

//! The tables.

use sync_sqlite::Schema;

/// The device's tables. Migrations are only ever appended; the schema is written nowhere else.
pub(super) const SCHEMA: Schema = Schema {
    // "0kS1" as a big-endian number.
    application_id: 0x306b_5331,
    migrations: &[FIRST, SECOND, THIRD, FOURTH, ALERTS, KITS, APART, FILES, LARGE],
};

const FIRST: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- The core's small state; values hold secrets.
CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- The log. `own`: 1 if it is this device that gives it to the group, and 2 if it did so under an earlier key and everybody
-- had it; `seq` is NULL while such a blob waits to be sealed.
-- `origin`: who pushed what this device gives to a new group in its place; NULL for all else. `received`: others pushed
-- it, so that consumers here want it.
CREATE TABLE blob (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    own INTEGER NOT NULL,
    sender BLOB NOT NULL,
    seq INTEGER,
    channel TEXT NOT NULL,
    data BLOB NOT NULL,
    origin BLOB,
    received INTEGER GENERATED ALWAYS AS (own = 0 OR origin IS NOT NULL) VIRTUAL
);
-- An index holds the position behind its columns anyway.
-- The outbox (seq NULL comes first, in the order of position), and what is not delivered yet.
CREATE INDEX blob_own ON blob (seq) WHERE own = 1;
CREATE INDEX blob_channel ON blob (channel) WHERE received = 1;

-- Under which other numbers a blob of the log came. Whoever asks for one of them gets it there, too: it may be the one that
-- its asker lacks.
CREATE TABLE also (
    position INTEGER NOT NULL,
    sender BLOB NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (position, sender, seq)
) WITHOUT ROWID;

-- Arrived, but an earlier blob of the same sender is missing.
CREATE TABLE held (
    arrival INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sender BLOB NOT NULL,
    seq INTEGER NOT NULL,
    channel TEXT NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (id, sender, seq)
);
CREATE INDEX held_sender ON held (sender, seq, arrival);

CREATE TABLE sealed (seq INTEGER PRIMARY KEY, envelope BLOB NOT NULL);

CREATE TABLE gap (
    sender BLOB NOT NULL,
    seq INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    PRIMARY KEY (sender, seq)
) WITHOUT ROWID;

CREATE TABLE refused (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    cursor INTEGER NOT NULL,
    sender BLOB,
    outcome TEXT NOT NULL,
    at INTEGER NOT NULL,
    bytes BLOB NOT NULL
);

-- Up to where a consumer has had a channel, and every channel.
CREATE TABLE consumer (
    name TEXT NOT NULL,
    channel TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (name, channel)
) WITHOUT ROWID;
CREATE TABLE consumer_all (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
";

const SECOND: &str = "
-- How many refused entries were forgotten, by outcome and sender; an empty sender stands for many, and for none.
CREATE TABLE refused_before (
    outcome TEXT NOT NULL,
    sender BLOB NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (outcome, sender)
) WITHOUT ROWID;
";

const THIRD: &str = "
-- A snapshot stands for what an app had of a channel.
ALTER TABLE blob ADD COLUMN snapshot INTEGER NOT NULL DEFAULT 0;
ALTER TABLE held ADD COLUMN snapshot INTEGER NOT NULL DEFAULT 0;

-- Whose blobs, from which number to which, a snapshot took the place of: whoever asks for one of them gets the snapshot.
CREATE TABLE covered (
    position INTEGER NOT NULL,
    sender BLOB NOT NULL,
    from_seq INTEGER NOT NULL,
    to_seq INTEGER NOT NULL,
    PRIMARY KEY (position, sender)
) WITHOUT ROWID;
";

const FOURTH: &str = "
-- From here on values are sealed (store/seal.rs): meta.value but that of 'vault', state.value, blob.data, held.data,
-- refused.bytes.

-- Blobs of a backup, sealed as those of the log, until all of it is read.
CREATE TABLE import (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    origin BLOB NOT NULL,
    sender BLOB NOT NULL,
    seq INTEGER NOT NULL,
    channel TEXT NOT NULL,
    data BLOB NOT NULL,
    snapshot INTEGER NOT NULL
);
";

const ALERTS: &str = "
-- What a person should hear of. `device` is whom it is about, `maker` who did it, each with its name at that time, sealed, and
-- whether it is this device.
CREATE TABLE alert (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    warning INTEGER NOT NULL,
    at INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    device BLOB,
    device_name BLOB,
    device_own INTEGER NOT NULL,
    maker BLOB,
    maker_name BLOB,
    maker_own INTEGER NOT NULL,
    code TEXT,
    count INTEGER NOT NULL,
    since INTEGER
);
";

const KITS: &str = "
-- Snapshots that a relay keeps for a recovery kit.
CREATE TABLE kit_kept (
    id BLOB NOT NULL,
    kit BLOB NOT NULL,
    relay BLOB NOT NULL,
    PRIMARY KEY (id, kit, relay)
) WITHOUT ROWID;
CREATE INDEX blob_snapshot ON blob (channel) WHERE snapshot = 1;
";

const APART: &str = "
-- The newest snapshots that took nobody's place in the log, as everything there is still owed to others: for the kit alone.
-- `data` is sealed as a blob of the log.
CREATE TABLE kit_apart (
    channel TEXT PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    maker BLOB NOT NULL,
    data BLOB NOT NULL
) WITHOUT ROWID;
";

const FILES: &str = "
-- Files, as the log tells of them: each one's record, with key and name, is the blob of its id. Without hash and size: it was
-- removed before this device heard that there is one. `size` is that of what is sealed. `forged`: it is not what its sender said.
CREATE TABLE file (
    id BLOB PRIMARY KEY,
    hash BLOB,
    size INTEGER,
    forged INTEGER NOT NULL DEFAULT 0,
    removed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX file_content ON file (hash, size);

-- Their content. `here`: all of it is in the content store. `given`: the group whose relay has it, or which this device need not
-- give it to. `told`: as whom this device told the relays that it has it. `dropped`: 1 if it is to be forgotten, 2 if it is.
CREATE TABLE content (
    hash BLOB NOT NULL,
    size INTEGER NOT NULL,
    here INTEGER NOT NULL,
    given BLOB,
    told BLOB,
    dropped INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (hash, size)
) WITHOUT ROWID;

-- The channel on which files are told of: what else the log holds is not looked through for them.
CREATE INDEX blob_files ON blob (channel) WHERE channel = '0ksync/files';
";

const LARGE: &str = "
-- Blobs too large for an envelope: `data` is what travels of one (store/large.rs), and its bytes are content that a row of `file`
-- with its id names. `large`: 0 for all others, 1 if its content is here, 2 if it is awaited, 3 if it is not what its sender said.
ALTER TABLE blob ADD COLUMN large INTEGER NOT NULL DEFAULT 0;
CREATE INDEX blob_large ON blob (large, channel) WHERE large > 0;
ALTER TABLE import ADD COLUMN large INTEGER NOT NULL DEFAULT 0;
";

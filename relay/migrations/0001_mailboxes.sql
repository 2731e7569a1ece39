-- Every table but the last is clustered by group first. Migrations are only ever added, never changed.

-- What the other tables call a group: a number takes a third of the bytes in each of their keys and rows.
CREATE TABLE numbers (
    number INTEGER PRIMARY KEY,
    grp    BLOB    NOT NULL UNIQUE
);

-- What changes with a group's commits only. The p_ columns hold the state before a provisional commit.
CREATE TABLE groups (
    grp           INTEGER PRIMARY KEY,
    suite         INTEGER NOT NULL,
    epoch         INTEGER NOT NULL,
    snapshot      BLOB    NOT NULL,
    group_info    BLOB    NOT NULL,
    last_commit   BLOB,
    rejected      BLOB    NOT NULL,
    created_at_ms INTEGER NOT NULL,
    p_cursor      INTEGER,
    p_commit_hash BLOB,
    p_committer   BLOB,
    p_deadline_ms INTEGER,
    p_epoch       INTEGER,
    p_snapshot    BLOB,
    p_group_info  BLOB,
    p_last_commit BLOB
);

CREATE TABLE counters (
    grp     INTEGER PRIMARY KEY,
    newest  INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
);

CREATE TABLE members (
    grp            INTEGER NOT NULL,
    device         BLOB    NOT NULL,
    key            BLOB    NOT NULL,
    added          INTEGER NOT NULL,
    start          INTEGER NOT NULL,
    removed_cursor INTEGER,
    removed_at_ms  INTEGER,
    PRIMARY KEY (grp, device)
) WITHOUT ROWID;

-- Apart from members, because it changes with every acknowledgement.
CREATE TABLE acknowledged (
    grp    INTEGER NOT NULL,
    device BLOB    NOT NULL,
    cursor INTEGER NOT NULL,
    PRIMARY KEY (grp, device)
) WITHOUT ROWID;

CREATE TABLE heads (
    grp             INTEGER NOT NULL,
    sender          BLOB    NOT NULL,
    seq             INTEGER NOT NULL,
    hash            BLOB    NOT NULL,
    header          BLOB    NOT NULL,
    ciphertext_hash BLOB    NOT NULL,
    signature       BLOB    NOT NULL,
    cut             INTEGER NOT NULL,
    PRIMARY KEY (grp, sender)
) WITHOUT ROWID;

CREATE TABLE statements (
    grp          INTEGER NOT NULL,
    acknowledger BLOB NOT NULL,
    sender       BLOB NOT NULL,
    statement    BLOB NOT NULL,
    PRIMARY KEY (grp, acknowledger, sender)
) WITHOUT ROWID;

CREATE TABLE welcomes (
    grp     INTEGER NOT NULL,
    device  BLOB    NOT NULL,
    cursor  INTEGER NOT NULL,
    welcome BLOB    NOT NULL,
    PRIMARY KEY (grp, device)
) WITHOUT ROWID;

-- In the order of arrival, so that appends of many groups fill the same pages; clustered by group, each would dirty pages
-- of its own and split them in the middle. kind is the number that the entry has on the wire; size is the body's length,
-- so that reading the index touches no body that lies on pages of its own.
CREATE TABLE entries (
    arrival INTEGER PRIMARY KEY,
    grp     INTEGER NOT NULL,
    cursor  INTEGER NOT NULL,
    kind    INTEGER NOT NULL,
    sender  BLOB    NOT NULL,
    size    INTEGER NOT NULL,
    body    BLOB    NOT NULL
);
CREATE UNIQUE INDEX entries_cursor ON entries (grp, cursor);

-- Every table is clustered by group first. Migrations are only ever added, never changed.

-- What changes with a group's commits only. The p_ columns hold the state before a provisional commit.
CREATE TABLE groups (
    grp           BLOB    NOT NULL PRIMARY KEY,
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
) WITHOUT ROWID;

CREATE TABLE counters (
    grp     BLOB    NOT NULL PRIMARY KEY,
    newest  INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE members (
    grp            BLOB    NOT NULL,
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
    grp    BLOB    NOT NULL,
    device BLOB    NOT NULL,
    cursor INTEGER NOT NULL,
    PRIMARY KEY (grp, device)
) WITHOUT ROWID;

CREATE TABLE heads (
    grp             BLOB    NOT NULL,
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
    grp          BLOB NOT NULL,
    acknowledger BLOB NOT NULL,
    sender       BLOB NOT NULL,
    statement    BLOB NOT NULL,
    PRIMARY KEY (grp, acknowledger, sender)
) WITHOUT ROWID;

CREATE TABLE welcomes (
    grp     BLOB    NOT NULL,
    device  BLOB    NOT NULL,
    cursor  INTEGER NOT NULL,
    welcome BLOB    NOT NULL,
    PRIMARY KEY (grp, device)
) WITHOUT ROWID;

-- kind is the number that the entry has on the wire; size is the body's length, so that reading the index touches no body
-- that lies on pages of its own.
CREATE TABLE entries (
    grp    BLOB    NOT NULL,
    cursor INTEGER NOT NULL,
    kind   INTEGER NOT NULL,
    sender BLOB    NOT NULL,
    size   INTEGER NOT NULL,
    body   BLOB    NOT NULL,
    PRIMARY KEY (grp, cursor)
) WITHOUT ROWID;

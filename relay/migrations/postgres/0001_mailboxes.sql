-- The mailboxes of relays that share a database. Migrations are only ever added, never changed. They run in one transaction.
--
-- Every table of a group is partitioned by the group's id, which is the first column of its key and stands in every query, so
-- that each query touches one partition, and a sharded PostgreSQL keeps what belongs to a group in one place.

-- A number that each transaction draws anew for the groups that it writes to. It begins with naming those that it knows, and
-- writes nothing if another relay was there in between. Drawn and not counted, so that two histories never share one: a
-- server that takes over without the last transactions of the one before would count to the same numbers again.
CREATE TABLE revisions (
    grp      BYTEA  NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (grp)
) PARTITION BY HASH (grp);

-- What changes with a group's commits only. The p_ columns hold the state before a provisional commit.
CREATE TABLE groups (
    grp           BYTEA    NOT NULL,
    suite         SMALLINT NOT NULL,
    epoch         BIGINT   NOT NULL,
    snapshot      BYTEA    NOT NULL,
    group_info    BYTEA    NOT NULL,
    last_commit   BYTEA,
    rejected      BYTEA    NOT NULL,
    created_at_ms BIGINT   NOT NULL,
    p_cursor      BIGINT,
    p_commit_hash BYTEA,
    p_committer   BYTEA,
    p_deadline_ms BIGINT,
    p_epoch       BIGINT,
    p_snapshot    BYTEA,
    p_group_info  BYTEA,
    p_last_commit BYTEA,
    suite_since   BIGINT   NOT NULL,
    p_suite       SMALLINT,
    p_suite_since BIGINT,
    PRIMARY KEY (grp)
) PARTITION BY HASH (grp);

CREATE TABLE counters (
    grp     BYTEA  NOT NULL,
    newest  BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    bytes   BIGINT NOT NULL,
    PRIMARY KEY (grp)
) PARTITION BY HASH (grp);

-- seen_ms and missed are in the relay's own time, see clock.
CREATE TABLE members (
    grp            BYTEA  NOT NULL,
    device         BYTEA  NOT NULL,
    key            BYTEA  NOT NULL,
    added          BIGINT NOT NULL,
    start          BIGINT NOT NULL,
    removed_cursor BIGINT,
    removed_at_ms  BIGINT,
    seen_ms        BIGINT NOT NULL,
    missed         BIGINT NOT NULL,
    PRIMARY KEY (grp, device)
) PARTITION BY HASH (grp);

-- Apart from members, because it changes with every acknowledgement.
CREATE TABLE acknowledged (
    grp    BYTEA  NOT NULL,
    device BYTEA  NOT NULL,
    cursor BIGINT NOT NULL,
    PRIMARY KEY (grp, device)
) PARTITION BY HASH (grp);

CREATE TABLE heads (
    grp             BYTEA   NOT NULL,
    sender          BYTEA   NOT NULL,
    seq             BIGINT  NOT NULL,
    hash            BYTEA   NOT NULL,
    header          BYTEA   NOT NULL,
    ciphertext_hash BYTEA   NOT NULL,
    signature       BYTEA   NOT NULL,
    cut             BOOLEAN NOT NULL,
    PRIMARY KEY (grp, sender)
) PARTITION BY HASH (grp);

CREATE TABLE statements (
    grp          BYTEA NOT NULL,
    acknowledger BYTEA NOT NULL,
    sender       BYTEA NOT NULL,
    statement    BYTEA NOT NULL,
    PRIMARY KEY (grp, acknowledger, sender)
) PARTITION BY HASH (grp);

CREATE TABLE welcomes (
    grp     BYTEA  NOT NULL,
    device  BYTEA  NOT NULL,
    cursor  BIGINT NOT NULL,
    welcome BYTEA  NOT NULL,
    PRIMARY KEY (grp, device)
) PARTITION BY HASH (grp);

-- kind is the number that the entry has on the wire; size is the body's length, so that reading the index touches no body that
-- is stored apart.
CREATE TABLE entries (
    grp    BYTEA    NOT NULL,
    cursor BIGINT   NOT NULL,
    kind   SMALLINT NOT NULL,
    size   INTEGER  NOT NULL,
    sender BYTEA    NOT NULL,
    body   BYTEA    NOT NULL,
    PRIMARY KEY (grp, cursor)
) PARTITION BY HASH (grp);

-- Recovery keys, present and former: until_cursor is that of the commit that put another in its place.
CREATE TABLE kits (
    grp          BYTEA  NOT NULL,
    key          BYTEA  NOT NULL,
    from_cursor  BIGINT NOT NULL,
    until_cursor BIGINT,
    PRIMARY KEY (grp, key)
) PARTITION BY HASH (grp);

-- The same by key: whoever comes with a recovery kit names its key, and no group. So this one is partitioned by key.
CREATE TABLE kits_by_key (
    key         BYTEA   NOT NULL,
    grp         BYTEA   NOT NULL,
    from_cursor BIGINT  NOT NULL,
    current     BOOLEAN NOT NULL,
    PRIMARY KEY (key, grp)
) PARTITION BY HASH (key);

-- What members said of the group's state under the kit's MAC key.
CREATE TABLE vouches (
    grp    BYTEA  NOT NULL,
    device BYTEA  NOT NULL,
    epoch  BIGINT NOT NULL,
    mac    BYTEA  NOT NULL,
    PRIMARY KEY (grp, device)
) PARTITION BY HASH (grp);

-- Snapshots that members left for whoever comes with the recovery kit, one for each device and channel.
CREATE TABLE kit_snapshots (
    grp    BYTEA   NOT NULL,
    slot   BYTEA   NOT NULL,
    key    BYTEA   NOT NULL,
    device BYTEA   NOT NULL,
    size   INTEGER NOT NULL,
    mac    BYTEA   NOT NULL,
    sealed BYTEA   NOT NULL,
    PRIMARY KEY (grp, slot)
) PARTITION BY HASH (grp);

-- The SHA-256 of the access token that a group was made with, where the relay wants one.
CREATE TABLE group_tokens (
    grp   BYTEA NOT NULL,
    token BYTEA NOT NULL,
    PRIMARY KEY (grp)
) PARTITION BY HASH (grp);

-- At which relay each device is attached, or was last; it counts while that relay is among the nodes that live. Of two that both
-- say so the one with the higher number is right, which is drawn after the device has come.
CREATE SEQUENCE attachment_numbers;
CREATE TABLE attachments (
    grp    BYTEA  NOT NULL,
    device BYTEA  NOT NULL,
    node   BIGINT NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (grp, device)
) PARTITION BY HASH (grp);

-- Relays that run, by a number that each draws when it starts, and when they were last heard of.
CREATE TABLE nodes (
    node BIGINT      PRIMARY KEY,
    seen TIMESTAMPTZ NOT NULL
);

-- One row. served_ms: for how long relays have run on this database; first_cursor: behind which cursor all go on.
CREATE TABLE clock (
    one          SMALLINT PRIMARY KEY CHECK (one = 0),
    served_ms    BIGINT NOT NULL,
    first_cursor BIGINT NOT NULL
);
INSERT INTO clock VALUES (0, 0, 0);

-- Ciphertext does not get shorter.
ALTER TABLE entries ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE kit_snapshots ALTER COLUMN sealed SET STORAGE EXTERNAL;

DO $$
DECLARE
    part TEXT;
BEGIN
    FOREACH part IN ARRAY ARRAY[
        'revisions', 'groups', 'counters', 'members', 'acknowledged', 'heads', 'statements', 'welcomes', 'entries', 'kits',
        'kits_by_key', 'vouches', 'kit_snapshots', 'group_tokens', 'attachments'
    ] LOOP
        FOR n IN 0..15 LOOP
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS 16, REMAINDER %s)', part || '_p' || n, part, n
            );
        END LOOP;
    END LOOP;
END
$$;

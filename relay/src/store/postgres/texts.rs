//! All statements of a running store, in one place, so that a test can look at the plan of each.

/// Over what a statement goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Partitioned tables, of each the partitions of the groups or keys that it is given.
    Partitions,
    /// Tables of a few rows.
    Small,
    /// All groups. Asked when a relay starts, and seldom after that.
    Everything,
}

/// A statement as a test sees it.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// The name of its constant.
    pub name: &'static str,
    /// Over what it goes.
    pub scope: Scope,
    /// Its text.
    pub text: &'static str,
}

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident: $scope:ident = $text:expr;)*) => {
        $($(#[$doc])* pub(super) const $name: &str = $text;)*

        /// Every statement, for tests that look at their plans.
        pub const STATEMENTS: &[Statement] =
            &[$(Statement { name: stringify!($name), scope: Scope::$scope, text: $name }),*];
    };
}

/// One row for each of some groups, as a host sees them. What came behind the counters is counted on top.
macro_rules! of_wanted {
    ($wanted:literal, $order:literal) => {
        concat!(
            "WITH wanted AS MATERIALIZED (",
            $wanted,
            ") SELECT w.grp, \
            (SELECT count(*) FROM members m WHERE m.grp = w.grp AND m.removed_cursor IS NULL), \
            w.entries + beyond.counted, w.bytes + beyond.sizes AS held_bytes, \
            (SELECT count(*) FROM entries e WHERE e.grp = w.grp AND e.cursor > \
                (SELECT min(a.cursor) FROM acknowledged a JOIN members m ON m.grp = a.grp AND m.device = a.device \
                WHERE a.grp = w.grp AND m.removed_cursor IS NULL)) AS lag, \
            (SELECT e.at_s FROM entries e WHERE e.grp = w.grp ORDER BY e.cursor LIMIT 1), \
            COALESCE((SELECT max(m.seen_ms) FROM members m WHERE m.grp = w.grp AND m.removed_cursor IS NULL), 0) \
            FROM wanted w JOIN groups g ON g.grp = w.grp CROSS JOIN LATERAL (\
                SELECT count(*) AS counted, COALESCE(sum(e.size), 0)::bigint AS sizes FROM entries e \
                WHERE e.grp = w.grp AND e.cursor > w.newest) AS beyond ORDER BY ",
            $order
        )
    };
}

// Where several groups come in one statement, each is looked up by itself, in the one partition that it is in. With `grp = ANY`
// beside the join the planner would leave the other partitions out, and take all rows of all these groups for each of them.
statements! {
    /// The next revision ($3) for each group of which the known one still is the present one. The rows are locked in the order
    /// of their groups, so that two relays with several groups in common do not wait for each other in a circle; the update
    /// itself looks at each row as it is once the lock is held.
    ADVANCE: Partitions =
        "WITH held AS MATERIALIZED (\
            SELECT r.grp, k.revision FROM UNNEST($1::bytea[], $2::bigint[]) AS k (grp, revision) \
            JOIN revisions r ON r.grp = k.grp ORDER BY r.grp FOR UPDATE OF r) \
        UPDATE revisions r SET revision = $3::bigint FROM held \
        WHERE r.grp = held.grp AND r.revision = held.revision RETURNING r.grp";
    /// The first revision ($2) of groups that are new here; none where there is one.
    FOUND: Partitions =
        "INSERT INTO revisions (grp, revision) SELECT k.grp, $2::bigint FROM UNNEST($1::bytea[]) AS k (grp) ORDER BY k.grp \
        ON CONFLICT (grp) DO NOTHING RETURNING grp";
    REVISIONS: Partitions = "SELECT grp, revision FROM revisions WHERE grp = ANY($1::bytea[])";

    /// Everything of a group but bodies, as of one moment and in one answer: a relay asks for it as often as another one has
    /// written to the group. Of each row which part it is of, its numbers, and its bytes, both in the order of the columns of
    /// `Tables`. Part 12: the envelopes that are their senders' last behind the counters.
    LOAD: Partitions =
        "SELECT 0::bigint, ARRAY[revision], ARRAY[]::bytea[] FROM revisions WHERE grp = $1::bytea UNION ALL \
        SELECT 1, ARRAY[suite, epoch, created_at_ms, p_cursor, p_deadline_ms, p_epoch, suite_since, p_suite, p_suite_since], \
            ARRAY[grp, snapshot, group_info, last_commit, rejected, p_commit_hash, p_committer, p_snapshot, p_group_info, \
            p_last_commit] FROM groups WHERE grp = $1::bytea UNION ALL \
        SELECT 2, ARRAY[newest, entries, bytes], NULL FROM counters WHERE grp = $1::bytea UNION ALL \
        (SELECT 3, ARRAY[m.added, m.start, a.cursor, m.removed_cursor, m.removed_at_ms, m.seen_ms, m.missed], \
            ARRAY[m.device, m.key, m.wake] FROM members m JOIN acknowledged a ON a.grp = m.grp AND a.device = m.device \
            WHERE m.grp = $1::bytea AND a.grp = $1::bytea ORDER BY m.device) UNION ALL \
        (SELECT 4, ARRAY[seq, cut::integer], ARRAY[sender, hash, header, ciphertext_hash, signature] FROM heads \
            WHERE grp = $1::bytea ORDER BY sender) UNION ALL \
        (SELECT 5, NULL, ARRAY[acknowledger, sender, statement] FROM statements \
            WHERE grp = $1::bytea ORDER BY acknowledger, sender) UNION ALL \
        (SELECT 6, ARRAY[cursor], ARRAY[device] FROM welcomes WHERE grp = $1::bytea ORDER BY device) UNION ALL \
        (SELECT 7, ARRAY[cursor, kind, size], ARRAY[sender] FROM entries WHERE grp = $1::bytea ORDER BY cursor) UNION ALL \
        (SELECT 8, ARRAY[from_cursor, until_cursor], ARRAY[key] FROM kits WHERE grp = $1::bytea ORDER BY key) UNION ALL \
        (SELECT 9, ARRAY[epoch], ARRAY[device, mac] FROM vouches WHERE grp = $1::bytea ORDER BY device) UNION ALL \
        (SELECT 10, ARRAY[size::bigint], ARRAY[slot, key, device] FROM kit_snapshots \
            WHERE grp = $1::bytea ORDER BY slot) UNION ALL \
        SELECT 11, NULL, ARRAY[token] FROM group_tokens WHERE grp = $1::bytea UNION ALL \
        SELECT 12, NULL, ARRAY[body] FROM entries WHERE grp = $1::bytea AND cursor IN (\
            SELECT max(cursor) FROM entries WHERE grp = $1::bytea AND kind = 1 \
            AND cursor > COALESCE((SELECT newest FROM counters WHERE grp = $1::bytea), 0) GROUP BY sender)";

    ENTRIES: Partitions =
        "SELECT cursor, kind::bigint, sender, body FROM entries \
        WHERE grp = $1::bytea AND cursor > $2::bigint AND cursor <= $3::bigint AND (kind <> 1 OR sender <> $4::bytea) \
        ORDER BY cursor LIMIT $5::bigint";
    ORDERED: Partitions =
        "SELECT cursor, kind::bigint, sender, body FROM entries \
        WHERE grp = $1::bytea AND cursor > $2::bigint AND cursor <= $3::bigint AND kind <> 1 \
        ORDER BY cursor LIMIT $4::bigint";
    WELCOME: Partitions = "SELECT welcome FROM welcomes WHERE grp = $1::bytea AND device = $2::bytea";
    GROUPS_OF_KIT: Partitions =
        "SELECT grp, current::integer::bigint FROM kits_by_key WHERE key = $1::bytea ORDER BY from_cursor, grp \
        LIMIT $2::bigint";
    SNAPSHOT_OF_KIT: Partitions =
        "SELECT slot, sealed, mac FROM kit_snapshots WHERE grp = $1::bytea AND key = $2::bytea AND slot > $3::bytea \
        ORDER BY slot LIMIT 1";

    APPEND: Partitions =
        "INSERT INTO entries (grp, cursor, kind, size, sender, body) SELECT * \
        FROM UNNEST($1::bytea[], $2::bigint[], $3::smallint[], $4::integer[], $5::bytea[], $6::bytea[])";
    DELETE_ENVELOPES: Partitions =
        "DELETE FROM entries e USING UNNEST($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[]) \
            AS k (grp, sender, above, up_to) \
        WHERE e.grp = k.grp AND e.cursor > k.above AND e.cursor <= k.up_to AND e.kind = 1 AND e.sender = k.sender";
    DELETE_COMMITS: Partitions =
        "DELETE FROM entries e USING UNNEST($1::bytea[], $2::bigint[], $3::bigint[]) AS k (grp, above, up_to) \
        WHERE e.grp = k.grp AND e.cursor > k.above AND e.cursor <= k.up_to AND e.kind <> 1";
    DELETE_COMMIT: Partitions = "DELETE FROM entries WHERE grp = $1::bytea AND cursor = $2::bigint AND kind <> 1";
    PUT_COUNTERS: Partitions =
        "INSERT INTO counters (grp, newest, entries, bytes) \
        SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[]) \
        ON CONFLICT (grp) DO UPDATE \
        SET newest = excluded.newest, entries = excluded.entries, bytes = excluded.bytes";
    PUT_ACKNOWLEDGED: Partitions =
        "INSERT INTO acknowledged (grp, device, cursor) SELECT * FROM UNNEST($1::bytea[], $2::bytea[], $3::bigint[]) \
        ON CONFLICT (grp, device) DO UPDATE SET cursor = excluded.cursor";
    PUT_HEADS: Partitions =
        "INSERT INTO heads (grp, sender, seq, hash, header, ciphertext_hash, signature, cut) SELECT * \
        FROM UNNEST($1::bytea[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[], \
            $8::boolean[]) \
        ON CONFLICT (grp, sender) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, header = excluded.header, \
        ciphertext_hash = excluded.ciphertext_hash, signature = excluded.signature, cut = excluded.cut";
    PUT_STATEMENTS: Partitions =
        "INSERT INTO statements (grp, acknowledger, sender, statement) \
        SELECT * FROM UNNEST($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[]) \
        ON CONFLICT (grp, acknowledger, sender) DO UPDATE SET statement = excluded.statement";
    DELETE_STATEMENTS: Partitions =
        "DELETE FROM statements WHERE grp = $1::bytea AND (acknowledger = $2::bytea OR sender = $2::bytea)";
    PUT_GROUP: Partitions =
        "INSERT INTO groups (grp, suite, epoch, snapshot, group_info, last_commit, rejected, created_at_ms, p_cursor, \
        p_commit_hash, p_committer, p_deadline_ms, p_epoch, p_snapshot, p_group_info, p_last_commit, suite_since, \
        p_suite, p_suite_since) \
        VALUES ($1::bytea, $2::smallint, $3::bigint, $4::bytea, $5::bytea, $6::bytea, $7::bytea, $8::bigint, $9::bigint, \
        $10::bytea, $11::bytea, $12::bigint, $13::bigint, $14::bytea, $15::bytea, $16::bytea, $17::bigint, \
        $18::smallint, $19::bigint) \
        ON CONFLICT (grp) DO UPDATE SET suite = excluded.suite, epoch = excluded.epoch, snapshot = excluded.snapshot, \
        group_info = excluded.group_info, last_commit = excluded.last_commit, rejected = excluded.rejected, \
        created_at_ms = excluded.created_at_ms, p_cursor = excluded.p_cursor, p_commit_hash = excluded.p_commit_hash, \
        p_committer = excluded.p_committer, p_deadline_ms = excluded.p_deadline_ms, p_epoch = excluded.p_epoch, \
        p_snapshot = excluded.p_snapshot, p_group_info = excluded.p_group_info, \
        p_last_commit = excluded.p_last_commit, suite_since = excluded.suite_since, p_suite = excluded.p_suite, \
        p_suite_since = excluded.p_suite_since";
    PUT_MEMBER: Partitions =
        "INSERT INTO members (grp, device, key, added, start, removed_cursor, removed_at_ms, seen_ms, missed, wake) \
        VALUES ($1::bytea, $2::bytea, $3::bytea, $4::bigint, $5::bigint, $6::bigint, $7::bigint, $8::bigint, $9::bigint, \
        $10::bytea) \
        ON CONFLICT (grp, device) DO UPDATE SET key = excluded.key, added = excluded.added, start = excluded.start, \
        removed_cursor = excluded.removed_cursor, removed_at_ms = excluded.removed_at_ms, seen_ms = excluded.seen_ms, \
        missed = excluded.missed, wake = excluded.wake";
    DELETE_MEMBER: Partitions = "DELETE FROM members WHERE grp = $1::bytea AND device = $2::bytea";
    DELETE_ACKNOWLEDGED: Partitions = "DELETE FROM acknowledged WHERE grp = $1::bytea AND device = $2::bytea";
    PUT_WELCOME: Partitions =
        "INSERT INTO welcomes (grp, device, cursor, welcome) VALUES ($1::bytea, $2::bytea, $3::bigint, $4::bytea) \
        ON CONFLICT (grp, device) DO UPDATE SET cursor = excluded.cursor, welcome = excluded.welcome";
    DELETE_WELCOME: Partitions = "DELETE FROM welcomes WHERE grp = $1::bytea AND device = $2::bytea";
    PUT_KIT: Partitions =
        "INSERT INTO kits (grp, key, from_cursor, until_cursor) VALUES ($1::bytea, $2::bytea, $3::bigint, $4::bigint) \
        ON CONFLICT (grp, key) DO UPDATE SET from_cursor = excluded.from_cursor, until_cursor = excluded.until_cursor";
    PUT_KIT_BY_KEY: Partitions =
        "INSERT INTO kits_by_key (key, grp, from_cursor, current) \
        VALUES ($1::bytea, $2::bytea, $3::bigint, $4::boolean) \
        ON CONFLICT (key, grp) DO UPDATE SET from_cursor = excluded.from_cursor, current = excluded.current";
    DELETE_KIT: Partitions = "DELETE FROM kits WHERE grp = $1::bytea AND key = $2::bytea";
    DELETE_KIT_BY_KEY: Partitions = "DELETE FROM kits_by_key WHERE key = $1::bytea AND grp = $2::bytea";
    PUT_VOUCH: Partitions =
        "INSERT INTO vouches (grp, device, epoch, mac) VALUES ($1::bytea, $2::bytea, $3::bigint, $4::bytea) \
        ON CONFLICT (grp, device) DO UPDATE SET epoch = excluded.epoch, mac = excluded.mac";
    DELETE_VOUCH: Partitions = "DELETE FROM vouches WHERE grp = $1::bytea AND device = $2::bytea";
    PUT_SNAPSHOT: Partitions =
        "INSERT INTO kit_snapshots (grp, slot, key, device, size, mac, sealed) \
        VALUES ($1::bytea, $2::bytea, $3::bytea, $4::bytea, $5::integer, $6::bytea, $7::bytea) \
        ON CONFLICT (grp, slot) DO UPDATE SET key = excluded.key, device = excluded.device, size = excluded.size, \
        mac = excluded.mac, sealed = excluded.sealed";
    DELETE_SNAPSHOT: Partitions = "DELETE FROM kit_snapshots WHERE grp = $1::bytea AND slot = $2::bytea";

    PUT_TOKEN: Partitions =
        "INSERT INTO group_tokens (grp, token) VALUES ($1::bytea, $2::bytea) \
        ON CONFLICT (grp) DO UPDATE SET token = excluded.token";
    KEYS_OF_GROUP: Partitions = "SELECT key FROM kits WHERE grp = $1::bytea";
    EMPTY_GROUP: Partitions = "DELETE FROM groups WHERE grp = $1::bytea";
    EMPTY_COUNTERS: Partitions = "DELETE FROM counters WHERE grp = $1::bytea";
    EMPTY_MEMBERS: Partitions = "DELETE FROM members WHERE grp = $1::bytea";
    EMPTY_ACKNOWLEDGED: Partitions = "DELETE FROM acknowledged WHERE grp = $1::bytea";
    EMPTY_HEADS: Partitions = "DELETE FROM heads WHERE grp = $1::bytea";
    EMPTY_STATEMENTS: Partitions = "DELETE FROM statements WHERE grp = $1::bytea";
    EMPTY_WELCOMES: Partitions = "DELETE FROM welcomes WHERE grp = $1::bytea";
    EMPTY_ENTRIES: Partitions = "DELETE FROM entries WHERE grp = $1::bytea";
    EMPTY_KITS: Partitions = "DELETE FROM kits WHERE grp = $1::bytea";
    EMPTY_VOUCHES: Partitions = "DELETE FROM vouches WHERE grp = $1::bytea";
    EMPTY_SNAPSHOTS: Partitions = "DELETE FROM kit_snapshots WHERE grp = $1::bytea";
    EMPTY_TOKENS: Partitions = "DELETE FROM group_tokens WHERE grp = $1::bytea";

    /// Its bytes are not gone with that: they are buried a few at a time, as other forgotten content is.
    EMPTY_CONTENT: Partitions =
        "UPDATE content SET whole = false, at_ms = -1 WHERE grp = $1::bytea AND at_ms >= 0";
    EMPTY_CONTENT_HAD: Partitions = "DELETE FROM content_had WHERE grp = $1::bytea";

    /// The rows of two groups are locked in one order, as in `ADVANCE`.
    ATTACH: Partitions =
        "INSERT INTO attachments AS a (grp, device, node, number) SELECT k.grp, k.device, $3::bigint, k.number \
        FROM UNNEST($1::bytea[], $2::bytea[], $4::bigint[]) AS k (grp, device, number) ORDER BY k.grp, k.device \
        ON CONFLICT (grp, device) DO UPDATE SET node = excluded.node, number = excluded.number \
        WHERE a.number < excluded.number";
    /// Only where the device has not come to another relay since.
    DETACH: Partitions =
        "DELETE FROM attachments a USING UNNEST($1::bytea[], $2::bytea[]) AS k (grp, device) \
        WHERE a.grp = k.grp AND a.device = k.device AND a.node = $3::bigint";
    /// Who is attached at other relays than $2, what all relays go on behind, and a number that was not drawn before.
    ELSEWHERE: Partitions =
        "SELECT c.first_cursor, nextval('attachment_numbers'), ARRAY(\
            SELECT a.device FROM attachments a JOIN nodes n ON n.node = a.node \
            WHERE a.grp = $1::bytea AND a.node <> $2::bigint AND n.seen > now() - interval '90 seconds') \
        FROM clock c";

    /// What a group has is counted and added to by one relay at a time.
    CONTENT_LOCK: Small = "SELECT pg_advisory_xact_lock($1::integer, $2::integer)";
    /// So that nothing comes to a group behind its end: whoever deletes it waits, and deletes this as well.
    CONTENT_GROUP: Partitions = "SELECT 1::bigint FROM groups WHERE grp = $1::bytea FOR KEY SHARE";
    CONTENT_FIND: Partitions =
        "SELECT size, whole::integer::bigint, (at_ms < 0)::integer::bigint FROM content \
        WHERE grp = $1::bytea AND hash = $2::bytea";
    CONTENT_ROOM: Partitions =
        "SELECT count(*), COALESCE(sum(size), 0)::bigint FROM content WHERE grp = $1::bytea AND at_ms >= 0";
    CONTENT_BEGIN: Partitions =
        "INSERT INTO content (grp, hash, size, whole, at_ms) \
        VALUES ($1::bytea, $2::bytea, $3::bigint, false, $4::bigint)";
    /// Not before all its parts are there.
    CONTENT_WHOLE: Partitions =
        "UPDATE content SET whole = true, at_ms = $3::bigint \
        WHERE grp = $1::bytea AND hash = $2::bytea AND at_ms >= 0 AND $4::bigint = \
            (SELECT count(*) FROM content_parts WHERE grp = $1::bytea AND hash = $2::bytea)";
    CONTENT_HAD: Partitions =
        "INSERT INTO content_had (grp, hash, device, at_ms) SELECT c.grp, c.hash, $3::bytea, $4::bigint FROM content c \
        WHERE c.grp = $1::bytea AND c.hash = ANY($2::bytea[]) AND c.at_ms >= 0 ORDER BY c.hash \
        ON CONFLICT (grp, hash, device) DO UPDATE SET at_ms = excluded.at_ms";
    CONTENT_HOLDERS: Partitions = "SELECT device FROM content_had WHERE grp = $1::bytea AND hash = $2::bytea";
    CONTENT_HELD: Partitions =
        "SELECT c.hash, h.device FROM content c JOIN content_had h ON h.hash = c.hash \
        WHERE c.grp = $1::bytea AND h.grp = $1::bytea AND c.at_ms >= 0 AND c.hash = ANY($2::bytea[]) ORDER BY c.hash";
    CONTENT_ALL_HELD: Partitions =
        "SELECT c.hash, h.device FROM content c JOIN content_had h ON h.hash = c.hash \
        WHERE c.grp = $1::bytea AND h.grp = $1::bytea AND c.at_ms >= 0 ORDER BY c.hash";
    CONTENT_OF: Partitions = "SELECT hash FROM content WHERE grp = $1::bytea AND at_ms >= 0";
    CONTENT_FORGET: Partitions =
        "UPDATE content SET whole = false, at_ms = -1 WHERE grp = $1::bytea AND hash = $2::bytea AND at_ms >= 0";
    CONTENT_FORGOTTEN: Partitions =
        "SELECT 1::bigint FROM content WHERE grp = $1::bytea AND hash = $2::bytea AND at_ms < 0 FOR UPDATE";
    CONTENT_BURY: Partitions = "DELETE FROM content WHERE grp = $1::bytea AND hash = $2::bytea AND at_ms < 0";
    CONTENT_BURY_PARTS: Partitions =
        "DELETE FROM content_parts WHERE grp = $1::bytea AND hash = $2::bytea AND number < $3::integer + \
            (SELECT min(number) FROM content_parts WHERE grp = $1::bytea AND hash = $2::bytea)";
    CONTENT_PARTS: Partitions =
        "SELECT COALESCE(max(number) + 1, 0)::bigint FROM content_parts WHERE grp = $1::bytea AND hash = $2::bytea";
    /// Whoever forgets the content waits for this, or this finds it forgotten.
    CONTENT_PUT_PART: Partitions =
        "INSERT INTO content_parts (grp, hash, number, bytes) SELECT c.grp, c.hash, $3::integer, $4::bytea \
        FROM content c WHERE c.grp = $1::bytea AND c.hash = $2::bytea AND c.at_ms >= 0 FOR SHARE OF c \
        ON CONFLICT (grp, hash, number) DO NOTHING";
    CONTENT_PART: Partitions =
        "SELECT bytes FROM content_parts WHERE grp = $1::bytea AND hash = $2::bytea AND number = $3::integer";

    NOTIFY: Small = "SELECT pg_notify($1::text, k.payload) FROM UNNEST($2::text[]) AS k (payload)";
    LIVES: Small =
        "INSERT INTO nodes (node, seen) VALUES ($1::bigint, now()) ON CONFLICT (node) DO UPDATE SET seen = now()";
    BURY: Small = "DELETE FROM nodes WHERE node = $1::bigint";
    BURY_OLD: Small = "DELETE FROM nodes WHERE seen < now() - interval '1 day'";
    /// Taken over from a relay that is gone, too.
    ANNOUNCE: Small =
        "INSERT INTO pairings AS p (name, node, until) \
        VALUES ($1::bytea, $2::bigint, now() + $3::bigint * interval '1 millisecond') \
        ON CONFLICT (name) DO UPDATE SET node = excluded.node, until = excluded.until \
        WHERE p.node = excluded.node OR p.until < now() \
        OR NOT EXISTS (SELECT FROM nodes n WHERE n.node = p.node AND n.seen > now() - interval '90 seconds') RETURNING node";
    WITHDRAW: Small = "DELETE FROM pairings WHERE name = $1::bytea AND node = $2::bigint";
    FIND: Small =
        "SELECT p.node FROM pairings p JOIN nodes n ON n.node = p.node \
        WHERE p.name = $1::bytea AND p.until > now() AND n.seen > now() - interval '90 seconds'";
    SEND: Small =
        "INSERT INTO letters (recipient, sender, body) SELECT k.recipient, $2::bigint, k.body \
        FROM UNNEST($1::bigint[], $3::bytea[]) WITH ORDINALITY AS k (recipient, body, place) ORDER BY k.place";
    /// At the most $2 letters to $1, which are deleted by that.
    RECEIVE: Small =
        "WITH taken AS (DELETE FROM letters WHERE recipient = $1::bigint AND number IN (\
            SELECT number FROM letters WHERE recipient = $1::bigint ORDER BY number LIMIT $2::bigint) \
            RETURNING number, sender, body) \
        SELECT sender, body FROM taken ORDER BY number";
    ALIVE: Small = "SELECT node FROM nodes WHERE seen > now() - interval '90 seconds'";
    BURY_PAIRINGS: Small = "DELETE FROM pairings WHERE until < now()";
    BURY_LETTERS: Small = "DELETE FROM letters l WHERE NOT EXISTS (SELECT FROM nodes n WHERE n.node = l.recipient)";
    RAISE_FIRST_CURSOR: Small =
        "UPDATE clock SET first_cursor = GREATEST(first_cursor, $1::bigint) RETURNING first_cursor";
    SERVED: Small = "SELECT served_ms FROM clock";
    /// The database on the server's disk, indexes and all.
    SIZE: Small = "SELECT pg_database_size(current_database())";
    SET_SERVED: Small = "UPDATE clock SET served_ms = GREATEST(served_ms, $1::bigint)";

    /// Each group is looked at by itself: of those without a token nothing is.
    TOKEN_USE: Everything =
        "SELECT t.token, count(*), (COALESCE(sum(c.bytes), 0) + COALESCE(sum(beyond.sizes), 0))::bigint \
        FROM group_tokens t LEFT JOIN counters c ON c.grp = t.grp CROSS JOIN LATERAL (\
            SELECT sum(e.size) AS sizes FROM entries e WHERE e.grp = t.grp AND e.cursor > COALESCE(c.newest, 0)) AS beyond \
        GROUP BY t.token";
    /// What the counters do not say yet is the few entries behind each group's.
    STATS: Everything =
        "SELECT (SELECT count(*) FROM groups), COALESCE(sum(counted), 0)::bigint, COALESCE(sum(sizes), 0)::bigint FROM (\
            SELECT sum(entries) AS counted, sum(bytes) AS sizes FROM counters UNION ALL \
            SELECT count(*), sum(e.size) FROM counters c JOIN entries e ON e.grp = c.grp AND e.cursor > c.newest) AS t";
    LARGEST_BY_SIZE: Everything = of_wanted!(
        "SELECT grp, newest, entries, bytes FROM counters ORDER BY bytes DESC LIMIT $1::bigint",
        "held_bytes DESC, w.grp LIMIT $2::bigint"
    );
    LARGEST_BY_LAG: Everything = of_wanted!(
        "SELECT grp, newest, entries, bytes FROM counters ORDER BY entries DESC LIMIT $1::bigint",
        "lag DESC, w.grp LIMIT $2::bigint"
    );
    BETWEEN: Everything = of_wanted!(
        "SELECT grp, newest, entries, bytes FROM counters WHERE grp BETWEEN $1::bytea AND $2::bytea LIMIT $3::bigint",
        "w.grp"
    );
    /// Once a minute, by an index on the time alone.
    CONTENT_OLD: Everything =
        "SELECT grp, hash FROM content WHERE at_ms < $1::bigint ORDER BY at_ms LIMIT $2::bigint";
    CONTENT_OLD_HAD: Everything =
        "DELETE FROM content_had h WHERE h.at_ms < $1::bigint AND NOT EXISTS (\
            SELECT FROM content c WHERE c.grp = h.grp AND c.hash = h.hash)";
    OLDEST: Everything = "SELECT min(at_s) FROM entries";
    LAPSED: Everything =
        "SELECT count(*) FROM (SELECT FROM members WHERE removed_cursor IS NULL AND seen_ms BETWEEN 1 AND $1::bigint \
        LIMIT $2::bigint) AS t";
}

/// What forgets all rows of a group but its revision, by which other relays hear of it.
pub(super) const EMPTY: [&str; 14] = [
    EMPTY_GROUP,
    EMPTY_COUNTERS,
    EMPTY_MEMBERS,
    EMPTY_ACKNOWLEDGED,
    EMPTY_HEADS,
    EMPTY_STATEMENTS,
    EMPTY_WELCOMES,
    EMPTY_ENTRIES,
    EMPTY_KITS,
    EMPTY_VOUCHES,
    EMPTY_SNAPSHOTS,
    EMPTY_TOKENS,
    EMPTY_CONTENT,
    EMPTY_CONTENT_HAD,
];

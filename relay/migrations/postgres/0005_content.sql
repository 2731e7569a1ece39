-- Large content of the groups, so that what a device gives at one relay another takes at any. A hash is a group's own: the same
-- one in two groups is two contents, so that nobody can take a hash from those who have what it names.

-- size: of what is sealed, in bytes. whole: all parts are there. at_ms: when all of it had come, before that when it began to come,
-- in the relay's own time (clock); -1 once it is forgotten, from when on nobody is told of it, and its parts are deleted a few at a
-- time before this row is.
CREATE TABLE content (
    grp   BYTEA   NOT NULL,
    hash  BYTEA   NOT NULL,
    size  BIGINT  NOT NULL,
    whole BOOLEAN NOT NULL,
    at_ms BIGINT  NOT NULL,
    PRIMARY KEY (grp, hash)
) PARTITION BY HASH (grp);

-- Who has it, and need not find it here any more. Kept for a while beyond the content itself, so that what everybody has is
-- not taken once more from whoever asks whether it was.
CREATE TABLE content_had (
    grp    BYTEA  NOT NULL,
    hash   BYTEA  NOT NULL,
    device BYTEA  NOT NULL,
    at_ms  BIGINT NOT NULL,
    PRIMARY KEY (grp, hash, device)
) PARTITION BY HASH (grp);

-- Its sealed bytes, a mebibyte in each but the last, numbered from 0. They come in this order.
CREATE TABLE content_parts (
    grp    BYTEA   NOT NULL,
    hash   BYTEA   NOT NULL,
    number INTEGER NOT NULL,
    bytes  BYTEA   NOT NULL,
    PRIMARY KEY (grp, hash, number)
) PARTITION BY HASH (grp);

-- What the clock ends is of no group before it is found: the one question without a group, once a minute at each relay.
CREATE INDEX content_by_time ON content (at_ms);
CREATE INDEX content_had_by_time ON content_had (at_ms);

-- Ciphertext does not get shorter.
ALTER TABLE content_parts ALTER COLUMN bytes SET STORAGE EXTERNAL;

DO $$
DECLARE
    part TEXT;
BEGIN
    FOREACH part IN ARRAY ARRAY['content', 'content_had', 'content_parts'] LOOP
        FOR n IN 0..15 LOOP
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS 16, REMAINDER %s)', part || '_p' || n, part, n
            );
        END LOOP;
    END LOOP;
END
$$;

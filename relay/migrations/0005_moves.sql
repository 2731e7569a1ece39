-- The first epoch of the group's suite, 0 if it has never moved to another; and both before a provisional commit.
ALTER TABLE groups ADD COLUMN suite_since INTEGER NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN p_suite INTEGER;
ALTER TABLE groups ADD COLUMN p_suite_since INTEGER;

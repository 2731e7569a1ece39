//! The bounds of what was refused. What lies beyond is forgotten, and counted.

use super::Turn;

/// How many refused entries are kept.
const ENTRIES: i64 = 1_000;
/// How many bytes of them, in all.
const BYTES: i64 = 16 << 20;
/// How many outcomes and senders the forgotten ones are counted by. Beyond, only outcomes: a name costs a forger nothing.
const COUNTS: i64 = 256;

/// The newest entry that is kept no more: what comes behind it is within both bounds. A seal has 40 bytes (sync-core,
/// `CELL_OVERHEAD`).
const LAST: &str = "SELECT max(number) FROM (
        SELECT number, sum(length(bytes) - 40) OVER newest AS bytes, row_number() OVER newest AS place
        FROM refused WINDOW newest AS (ORDER BY number DESC)
    ) WHERE bytes > ? OR place > ?";

impl Turn<'_> {
    /// Forgets the oldest beyond the bounds, if this turn has refused anything.
    pub(super) fn forget_refused(&mut self) {
        if !std::mem::take(&mut self.refused) {
            return;
        }
        let counted = "ON CONFLICT (outcome, sender) DO UPDATE SET count = count + excluded.count";
        self.script.statement(&format!(
            "INSERT INTO refused_before
             SELECT outcome, coalesce(sender, x''), count(*) FROM refused WHERE number <= ({LAST}) GROUP BY 1, 2 {counted}"
        ));
        self.script.bind(BYTES).bind(ENTRIES);
        self.script.statement(&format!("DELETE FROM refused WHERE number <= ({LAST})")).bind(BYTES).bind(ENTRIES);
        let named = "sender <> x'' AND (SELECT count(*) FROM refused_before) > ?";
        self.script.statement(&format!(
            "INSERT INTO refused_before
             SELECT outcome, x'', sum(count) FROM refused_before WHERE {named} GROUP BY outcome {counted}"
        ));
        self.script.bind(COUNTS);
        self.script.statement(&format!("DELETE FROM refused_before WHERE {named}")).bind(COUNTS);
    }
}

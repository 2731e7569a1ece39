//! Days of the calendar (UTC), as hosts write and read them.

/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * 3_600_000;

/// The first millisecond of a day written `YYYY-MM-DD`, since the Unix epoch; `None` for what is no day from 1970 to 9999.
pub fn parse(text: &str) -> Option<u64> {
    let mut parts = text.splitn(3, '-');
    let mut part = |width: usize| {
        let digits = parts.next().filter(|part| part.len() == width && part.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<u64>().ok()
    };
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    if year < 1970 || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let days = days(year, month, day);
    // A day that a month does not have is one of the next.
    (date(days) == (year, month, day)).then_some(days * DAY_MS)
}

/// The day on which a time lies, as `YYYY-MM-DD`.
pub fn day(ms: u64) -> String {
    let (year, month, day) = date(ms / DAY_MS);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A time to the minute, as `YYYY-MM-DD HH:MM UTC`.
pub fn minute(ms: u64) -> String {
    let minutes = ms % DAY_MS / 60_000;
    format!("{} {:02}:{:02} UTC", day(ms), minutes / 60, minutes % 60)
}

/// About how long, in its two largest units.
pub fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

/// Days since the Unix epoch. Years begin in March here, so that the day that is put in comes last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    // 719 468 days lie between 1 March of the year 0 and 1 January 1970.
    365 * year + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    (era * 400 + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_is_read_as_it_is_written() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(parse("2000-03-01"), Some(951_868_800_000));
        for n in 0..200_000 {
            let text = day(n * DAY_MS);
            assert_eq!(parse(&text), Some(n * DAY_MS), "{text}");
        }
        assert_eq!(minute(parse("2026-02-28").unwrap() + 3_660_000), "2026-02-28 01:01 UTC");
        for wrong in ["2026-02-29", "2026-13-01", "2026-1-01", "2026-00-10", "1969-12-31", "2026-01", "x", "+202-01-01"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn spans_have_two_units() {
        assert_eq!(span(59_999), "59 s");
        assert_eq!(span(61_000), "1 min 1 s");
        assert_eq!(span(3_660_000), "1 h 1 min");
        assert_eq!(span(25 * 3_600_000), "1 d 1 h");
    }
}

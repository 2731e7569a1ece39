//! The table that a run prints, and the same as JSON.

use std::time::Instant;

use serde_json::{Value, json};

use crate::stats::count;

/// One figure.
pub(crate) struct Row {
    /// Which benchmark it belongs to.
    pub(crate) part: &'static str,
    /// What was measured.
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What it was to be, if anything was said.
    pub(crate) aim: Option<Aim>,
    /// What bounds it or goes with it, in words.
    pub(crate) beside: String,
}

/// What a figure has to be.
#[derive(Clone, Copy)]
pub(crate) enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

impl Aim {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {}", number(least)),
            Self::AtMost(most) => format!("≤ {}", number(most)),
        }
    }
}

/// The figures of a run, printed as they come.
pub(crate) struct Report {
    json: bool,
    started: Instant,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, started: Instant::now(), rows: Vec::new() }
    }

    /// Says what is going on, for whoever watches.
    pub(crate) fn say(&self, text: &str) {
        eprintln!("[{:>5.1} s] {text}", self.started.elapsed().as_secs_f64());
    }

    pub(crate) fn add(&mut self, row: Row) {
        // All of it, so that a run that is ended early has said what it saw.
        self.say(&format!("{}: {} {} ({})", row.what, number(row.value), row.unit, row.beside));
        self.rows.push(row);
    }

    /// A figure that nobody set an aim for: a baseline.
    pub(crate) fn bound(&mut self, part: &'static str, what: &str, value: f64, unit: &'static str, beside: String) {
        self.add(Row { part, what: what.to_owned(), value, unit, aim: None, beside });
    }

    /// A figure with an aim.
    pub(crate) fn figure(
        &mut self,
        part: &'static str,
        what: &str,
        value: (f64, &'static str),
        aim: Aim,
        beside: String,
    ) {
        self.add(Row { part, what: what.to_owned(), value: value.0, unit: value.1, aim: Some(aim), beside });
    }

    /// Prints all figures.
    pub(crate) fn print(&self) {
        let seconds = self.started.elapsed().as_secs_f64();
        if self.json {
            let figures: Vec<_> = self.rows.iter().map(Row::json).collect();
            println!("{}", json!({ "seconds": seconds, "figures": figures }));
            return;
        }
        let width =
            |text: &dyn Fn(&Row) -> String| self.rows.iter().map(|r| text(r).chars().count()).max().unwrap_or(0);
        let (what, value, unit) = (width(&|r| r.what.clone()), width(&Row::value_text), width(&|r| r.unit.to_owned()));
        let aim = width(&Row::aim_text);
        let mut part = "";
        for row in &self.rows {
            if row.part != part {
                part = row.part;
                println!("\n{part}");
            }
            println!(
                "  {:<what$}  {:>value$} {:<unit$}  {:<aim$}  {}",
                row.what,
                row.value_text(),
                row.unit,
                row.aim_text(),
                row.beside
            );
        }
        println!("\nMeasured in {seconds:.0} s.");
    }
}

impl Row {
    fn value_text(&self) -> String {
        number(self.value)
    }

    fn aim_text(&self) -> String {
        match self.aim {
            Some(aim) if aim.is_met(self.value) => format!("{} ok", aim.text()),
            Some(aim) => format!("{} MISSED", aim.text()),
            None => String::new(),
        }
    }

    fn json(&self) -> Value {
        let aim = match self.aim {
            Some(Aim::AtLeast(least)) => json!({ "at_least": least }),
            Some(Aim::AtMost(most)) => json!({ "at_most": most }),
            None => Value::Null,
        };
        json!({
            "part": self.part, "what": self.what, "value": self.value, "unit": self.unit, "aim": aim,
            "met": self.aim.map(|aim| aim.is_met(self.value)), "beside": self.beside,
        })
    }
}

/// Small numbers with two digits behind the point, large ones with none.
fn number(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { count(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_aim_shows_in_the_table_and_in_json() {
        let row = |value| Row {
            part: "p",
            what: "w".to_owned(),
            value,
            unit: "/s",
            aim: Some(Aim::AtLeast(1_000.0)),
            beside: String::new(),
        };
        assert_eq!(row(999.0).aim_text(), "≥ 1,000 MISSED");
        assert_eq!(row(999.0).json()["met"], false);
        assert_eq!(row(1_000.0).aim_text(), "≥ 1,000 ok");
        assert!(Aim::AtMost(40.0).is_met(39.5) && !Aim::AtMost(40.0).is_met(40.5));
    }
}

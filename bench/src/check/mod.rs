//! `files-check`: what files have to stand, by the real programs: every size, many at once, awkward names, files that change while
//! they are read, and processes that are killed. A table, and an error if any row of it failed.

mod changing;
mod killed;
mod names;
mod nodes;
mod sizes;
mod small;
mod usage;

use std::path::{Path, PathBuf};
use std::time::Instant;

pub(crate) use changing::write as writer;

use crate::process::RelayProcess;
use crate::{Outcome, files};

/// What is checked, and how much of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Plan {
    /// How often a process is killed, over all; and how often one of two relays is
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) kills: usize,
    /// How large the sparse file is, as 8GiB or 512MiB
    #[arg(long, default_value = "8GiB", value_name = "SIZE", value_parser = size)]
    pub(crate) large: u64,
    /// How large the file is whose every byte is written
    #[arg(long, default_value = "1GiB", value_name = "SIZE", value_parser = size)]
    pub(crate) dense: u64,
    /// How many small files
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(crate) small: usize,
    /// How often a file is put while somebody writes to it
    #[arg(long, default_value_t = 120, value_name = "N")]
    pub(crate) rounds: usize,
    /// An empty PostgreSQL database, for `nodes`
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Check only these, of sizes, small, names, changing, killed, nodes, with a comma between them
    #[arg(long, value_delimiter = ',', value_name = "PARTS", value_parser = PARTS)]
    pub(crate) only: Vec<String>,
}

const PARTS: [&str; 6] = ["sizes", "small", "names", "changing", "killed", "nodes"];

/// `8GiB`, `64MiB`, `16KiB` or a number of bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("{text} is no size: write 8GiB, 512MiB or bytes"))?;
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        unit => return Err(format!("{unit} is none of B, KiB, MiB, GiB")),
    };
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text} is too much"))
}

/// A size as a person says it.
pub(crate) fn words(size: u64) -> String {
    match size {
        0 => "0 B".to_owned(),
        size if size % (1 << 30) == 0 => format!("{} GiB", size >> 30),
        size if size % (1 << 20) == 0 => format!("{} MiB", size >> 20),
        size => format!("{} B", crate::stats::count(size as f64)),
    }
}

/// The programs that are checked, and a folder for what they make.
pub(crate) struct Bench {
    pub(crate) relay: PathBuf,
    pub(crate) ksync: PathBuf,
    pub(crate) folder: PathBuf,
}

impl Bench {
    /// An empty folder, which whoever made it deletes.
    fn room(&self, name: &str) -> Outcome<PathBuf> {
        let room = self.folder.join(name);
        std::fs::create_dir(&room)?;
        Ok(room)
    }

    async fn relay(&self, room: &Path) -> Outcome<RelayProcess> {
        RelayProcess::start(&self.relay, &room.join("relay")).await
    }
}

/// The rows, printed as they come.
#[derive(Default)]
struct Table {
    rows: usize,
    failed: Vec<String>,
}

impl Table {
    /// Prints a row: what was seen, or why it failed.
    fn row(&mut self, part: &str, what: &str, began: Instant, seen: Outcome<String>) {
        self.rows += 1;
        let (word, text) = match &seen {
            Ok(text) => ("ok", text.clone()),
            Err(error) => ("FAILED", error.to_string()),
        };
        println!("{part:<9} {what:<34} {:>7.1}  {word:<6}  {text}", began.elapsed().as_secs_f64());
        if seen.is_err() {
            self.failed.push(format!("{part}: {what}: {text}"));
        }
    }
}

/// Checks everything that the plan says.
pub(crate) async fn run(bench: &Bench, plan: &Plan) -> Outcome<()> {
    let (began, mut table) = (Instant::now(), Table::default());
    if cfg!(debug_assertions) {
        eprintln!("this is no release build: read nothing into how long it takes");
    }
    println!("{:<9} {:<34} {:>7}  {:<6}  what was seen", "part", "what", "s", "");
    let wanted = |part: &str| plan.only.is_empty() || plan.only.iter().any(|only| only == part);
    if wanted("sizes") {
        sizes::run(bench, plan, &mut table).await?;
    }
    if wanted("small") {
        small::run(bench, plan.small, &mut table).await?;
    }
    if wanted("names") {
        names::run(bench, &mut table).await?;
    }
    if wanted("changing") {
        changing::run(bench, plan.rounds, &mut table).await?;
    }
    if wanted("killed") {
        killed::run(bench, plan.kills, &mut table).await?;
    }
    if wanted("nodes") {
        let store = plan.store.as_ref().ok_or("nodes wants --store, an empty PostgreSQL database")?;
        nodes::run(bench, store, plan.kills, &mut table).await?;
    }
    println!("\n{} rows in {:.0} s, {} failed", table.rows, began.elapsed().as_secs_f64(), table.failed.len());
    if table.failed.is_empty() { Ok(()) } else { Err(table.failed.join("\n").into()) }
}

/// Fails unless two files hold the same.
fn alike(given: &Path, got: &Path) -> Outcome<()> {
    if files::same(given, got)? { Ok(()) } else { Err("what came is not what was put".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_units_or_bytes() {
        assert_eq!(size("8GiB"), Ok(8 << 30));
        assert_eq!((size("64KiB"), size("65519"), size("1B")), (Ok(65_536), Ok(65_519), Ok(1)));
        assert!(size("8GB").is_err() && size("GiB").is_err() && size("99999999999GiB").is_err());
        assert_eq!((words(8 << 30), words(65_519), words(0)), ("8 GiB".into(), "65,519 B".into(), "0 B".into()));
    }
}

//! Awkward names: each file arrives under a name that stays in the folder that was asked for.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Instant;

use super::{Bench, Table, alike};
use crate::Outcome;
use crate::devices::PATIENCE;
use crate::ksync::{Device, pair};

const PART: &str = "names";

/// Names that lie on the sender's disk, as bytes: what is no UTF-8 among them.
const ON_DISK: &[(&str, &[u8])] = &[
    ("a newline", b"a\nb"),
    ("a tab and a return", b"a\tb\rc"),
    ("an escape sequence", b"\x1b[2J\x07"),
    ("quotes", b"'\"`$(x)"),
    ("what only looks like a slash", "a\u{2215}b\u{2044}c".as_bytes()),
    ("backslashes", b"..\\..\\x"),
    ("a drive", b"C:\\x:stream"),
    ("wildcards", b"*?<>|"),
    ("a leading dot", b".profile"),
    ("a leading dash", b"-rf"),
    ("three dots", b"..."),
    ("dots and spaces at the ends", b" .a. . "),
    ("only spaces", b"   "),
    ("a device's name", b"CON"),
    ("a device's name with an ending", b"nul.txt"),
    ("another device's", b"Com1.tar.gz"),
    ("right to left", "a\u{202e}gpj.exe".as_bytes()),
    ("a line separator", "a\u{2028}b\u{2029}c".as_bytes()),
    ("emoji", "👩‍👩‍👧‍👦🏳️‍🌈.txt".as_bytes()),
    ("combining characters", "e\u{301}\u{301}\u{301}ç".as_bytes()),
    ("no width", "\u{200b}\u{feff}".as_bytes()),
    ("255 bytes", &[b'x'; 255]),
    ("no UTF-8", b"a\xff\xfeb\xc3"),
    ("nothing but no UTF-8", b"\xff"),
];

/// Names that a sender may say though no disk of ours has them. The long ones stand in [`said`].
const SAID: &[(&str, &str)] = &[
    ("a folder above", "../up"),
    ("far above", "../../../../../../../../tmp/ksync-files-check-escaped"),
    ("a path from the root", "/tmp/ksync-files-check-escaped"),
    ("two dots", ".."),
    ("one dot", "."),
    ("slashes alone", "///"),
    ("a folder", "a/b/c"),
    ("a folder of Windows", "..\\..\\up"),
    ("a share", "\\\\host\\share\\x"),
    ("a draft of ours", ".ksync-x"),
];

pub(super) async fn run(bench: &Bench, table: &mut Table) -> Outcome<()> {
    let room = bench.room("names")?;
    let relay = bench.relay(&room).await?;
    let (laptop, phone) = pair(&bench.ksync, &room, &relay.address).await?;
    let on_disk = ON_DISK.iter().map(|(what, name)| (*what, Some(OsString::from_vec(name.to_vec())), None));
    let said = said().into_iter().map(|(what, name)| (what, None, Some(name)));
    for (number, (what, on_disk, said)) in on_disk.chain(said).enumerate() {
        let began = Instant::now();
        let place = Place { room: &room, number };
        let seen = place.carried((&laptop, &phone), on_disk, said).await;
        table.row(PART, what, began, seen);
    }
    let (began, long) = (Instant::now(), room.join("long"));
    std::fs::write(&long, b"x")?;
    let name = "x".repeat(1_025);
    let refused = laptop.run(["file", "put", "--name", &name, long.to_str().unwrap_or_default()], PATIENCE).await?;
    let seen = match refused.error {
        Some((code, _)) if code == "INVALID_ARGUMENT" => Ok(format!("refused with {code}")),
        other => Err(format!("not refused with INVALID_ARGUMENT: {other:?}").into()),
    };
    table.row(PART, "1,025 bytes", began, seen);
    relay.process.terminate().await?;
    Ok(std::fs::remove_dir_all(room)?)
}

fn said() -> Vec<(&'static str, String)> {
    let mut all: Vec<_> = SAID.iter().map(|(what, name)| (*what, (*name).to_owned())).collect();
    all.push(("1,024 bytes", format!("{}.txt", "y".repeat(1_020))));
    all.push(("1,024 bytes of umlauts", "ü".repeat(512)));
    all
}

/// Where one name is tried: nothing else may come to lie in there.
struct Place<'a> {
    room: &'a Path,
    number: usize,
}

impl Place<'_> {
    async fn carried(
        &self,
        (laptop, phone): (&Device, &Device),
        on_disk: Option<OsString>,
        said: Option<String>,
    ) -> Outcome<String> {
        let place = self.room.join(format!("place-{}", self.number));
        let (from, outer) = (place.join("from"), place.join("outer"));
        let inner = outer.join("inner");
        std::fs::create_dir_all(&from)?;
        std::fs::create_dir_all(&inner)?;
        let given = from.join(on_disk.as_deref().unwrap_or("plain".as_ref()));
        let mut bytes = [0; 1_000];
        getrandom::fill(&mut bytes)?;
        std::fs::write(&given, bytes)?;

        let mut arguments = vec![OsString::from("file"), "put".into()];
        if let Some(said) = &said {
            arguments.extend(["--name".into(), OsString::from(said)]);
        }
        arguments.extend(["--".into(), OsString::from(&given)]);
        let put = laptop.call(&arguments).await?;
        let (id, name) = (put.field("file", "id")?, put.field("file", "name")?);
        let expected = said.unwrap_or_else(|| on_disk.unwrap_or_default().to_string_lossy().into_owned());
        if name != expected {
            return Err(format!("it is called {name:?} and not {expected:?}").into());
        }
        // Into the folder where the program stands, and into one that is named: in turn.
        let got = match self.number % 2 {
            0 => phone.run_in(&inner, ["file", "get", &id], PATIENCE).await?,
            _ => {
                let to = inner.to_str().ok_or("the folder's name is not UTF-8")?;
                phone.run(["file", "get", &id, "--to", to], PATIENCE).await?
            }
        };
        got.well()?;
        let mut found = Vec::new();
        below(&outer, &mut found)?;
        let [file] = &found[..] else { return Err(format!("{} files came to lie there", found.len()).into()) };
        if file.parent() != Some(&inner) {
            return Err("it lies in another folder".into());
        }
        alike(&given, file)?;
        let name = file.file_name().and_then(|name| name.to_str()).ok_or("its name is no UTF-8")?;
        if let Some(why) = unsafe_because(name) {
            return Err(format!("{name:?} is no safe name: {why}").into());
        }
        for stray in [self.room.join("up"), "/tmp/ksync-files-check-escaped".into()] {
            if stray.exists() {
                return Err(format!("{} is there", stray.display()).into());
            }
        }
        std::fs::remove_dir_all(place)?;
        laptop.call(["file", "remove", &id]).await?;
        Ok(format!("as {:?}", shortened(name)))
    }
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(40) {
        Some((at, _)) => format!("{}… ({} bytes)", &name[..at], name.len()),
        None => name.to_owned(),
    }
}

/// Every file below a folder, with whatever else is no folder.
fn below(folder: &Path, found: &mut Vec<std::path::PathBuf>) -> Outcome<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.symlink_metadata()?.is_dir() {
            true => below(&path, found)?,
            false => found.push(path),
        }
    }
    Ok(())
}

/// What is wrong with a name on some system; said here once more, so that the check does not ask what it checks.
fn unsafe_because(name: &str) -> Option<&'static str> {
    let turns = |c: char| matches!(u32::from(c), 0x200e | 0x200f | 0x061c | 0x2028..=0x202e | 0x2066..=0x2069);
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let device = ["CON", "PRN", "AUX", "NUL"].contains(&&*stem)
        || (stem.len() == 4
            && (stem.starts_with("COM") || stem.starts_with("LPT"))
            && stem.ends_with(|c: char| c.is_ascii_digit()));
    match name {
        "" | "." | ".." => Some("it names no file"),
        name if name.len() > 255 => Some("it is too long"),
        name if name.chars().any(char::is_control) => Some("a control character"),
        name if name.chars().any(turns) => Some("it turns the direction or ends the line"),
        name if name.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|']) => {
            Some("a character that Windows refuses")
        }
        name if name.starts_with('.') => Some("it is hidden"),
        name if name.ends_with(['.', ' ']) => Some("Windows drops its end"),
        _ if device => Some("it is a device on Windows"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unsafe_somewhere_is_seen() {
        for name in
            ["", "..", "a/b", "a\nb", "a\u{202e}b", "CON", "nul.txt", "com1", ".x", "x.", "x ", &"x".repeat(256)]
        {
            assert!(unsafe_because(name).is_some(), "{name:?}");
        }
        for name in ["x", "-rf", "a∕b", "console", "com10", "a b.txt", &"x".repeat(255)] {
            assert_eq!(unsafe_because(name), None, "{name:?}");
        }
    }
}

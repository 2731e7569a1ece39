//! Rules about source text that neither rustc nor clippy can check.

use std::fs;
use std::path::Path;

use crate::Failure;
use crate::arrows::PURE;
use crate::process::root;

/// Longer files want splitting.
const MAX_LINES: usize = 600;

/// How a file begins that another one is the source of.
const GENERATED: &str = "// Written by `cargo xtask gen`";

/// Where sources lie.
const FOLDERS: &[&str] = &[
    "bench",
    "crates",
    "e2e",
    "example-app/src",
    "example-app/src-tauri",
    "guest-js",
    "plugin",
    "relay",
    "vectors",
    "xtask",
];

/// Clocks, randomness and I/O that the pure crates must be handed, never take.
#[rustfmt::skip]
const AMBIENT: &[&str] = &[
    "SystemTime::now", "Instant::now", "getrandom", "OsRng", "SysRng", "thread_rng",
    "TcpStream", "TcpListener", "UdpSocket", "std::fs", "std::thread",
];

/// Tests that may sleep, each with the reason why waiting for an event cannot do. A line is (path, reason).
const MAY_SLEEP: &[(&str, &str)] = &[
    ("crates/sync-cli/tests/it/e2e/hazard.rs", "nothing is waited for: a random moment for a crash is drawn"),
    ("relay/src/wake/tests/queue.rs", "its time is paused, and passes when all else waits"),
    ("relay/src/wake/tests/secrets.rs", "the same"),
];

/// One file of source.
pub(crate) struct SourceFile {
    /// Its path from the root of the repository, with `/`.
    pub(crate) path: String,
    /// How many lines it has.
    lines: usize,
    /// Its text with the insides of comments and literals blanked, line for line; as it is if it is not Rust.
    pub(crate) code: String,
    /// The first line, from 0, that is built for tests only.
    tests_from: usize,
}

impl SourceFile {
    fn new(path: String, text: &str) -> Self {
        let rust = path.ends_with(".rs");
        let code = if rust { blank(text) } else { text.to_owned() };
        let tests_from = if path.contains("/tests/") { 0 } else { tests_from(&code) };
        // Nobody reads, or can split, what is generated.
        let lines = if text.starts_with(GENERATED) { 0 } else { text.lines().count() };
        Self { path, lines, code, tests_from }
    }

    /// A finding for each line in which `wanted` sees something.
    fn each<'a>(
        &'a self,
        wanted: impl Fn(usize, &str) -> Option<&'a str> + 'a,
    ) -> impl Iterator<Item = (usize, &'a str)> {
        self.code.lines().enumerate().filter_map(move |(line, text)| Some((line, wanted(line, text)?)))
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Reads every source file of the repository.
pub(crate) fn read() -> Result<Vec<SourceFile>, Failure> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root().join(folder), &mut files).map_err(|e| format!("cannot read the sources in {folder}: {e}"))?;
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    mark_test_modules(&mut files);
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<SourceFile>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py" || extension == "ts")
        {
            let name = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push(SourceFile::new(name, &fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// A file whose module is declared with `#[cfg(test)]` is a test from its first line.
fn mark_test_modules(files: &mut [SourceFile]) {
    let mut tests = Vec::new();
    for file in files.iter() {
        let folder = match file.path.rsplit_once('/') {
            Some((folder, "lib.rs" | "main.rs" | "mod.rs")) => folder.to_owned(),
            _ => file.path.trim_end_matches(".rs").to_owned(),
        };
        let lines: Vec<_> = file.code.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let declared = pair[1].strip_suffix(';').and_then(|line| line.split("mod ").nth(1));
            if let (true, Some(name)) = (pair[0] == "#[cfg(test)]", declared) {
                tests.push(format!("{folder}/{name}.rs"));
                tests.push(format!("{folder}/{name}/"));
            }
        }
    }
    for file in files {
        if tests.iter().any(|test| file.path == *test || (test.ends_with('/') && file.path.starts_with(test.as_str())))
        {
            file.tests_from = 0;
        }
    }
}

/// Everything that breaks a rule, as `path:line: what`.
pub(crate) fn check(files: &[SourceFile]) -> Vec<Failure> {
    let mut findings = Vec::new();
    for file in files {
        let mut add = |line: usize, what: String| findings.push(format!("{}:{}: {what}", file.path, line + 1));
        if file.lines > MAX_LINES {
            add(MAX_LINES, format!("{} lines; split the file, {MAX_LINES} is the most", file.lines));
        }
        if !file.is_rust() {
            continue;
        }
        for (line, word) in file.each(|_, text| ["todo!", "unimplemented!"].into_iter().find(|word| names(text, word)))
        {
            add(line, format!("{word} in the code: finish it"));
        }
        for (line, _) in file.each(|_, text| names(text, "#[ignore").then_some("")) {
            add(line, "an ignored test: make it run or remove it".to_owned());
        }
        if PURE.iter().any(|name| file.path.starts_with(&format!("crates/{name}/src/"))) {
            let ambient =
                |line, text: &str| AMBIENT.iter().copied().find(|word| line < file.tests_from && names(text, word));
            for (line, word) in file.each(ambient) {
                add(line, format!("{word} in a crate without I/O: time, randomness and data come in as parameters"));
            }
        }
        if !MAY_SLEEP.iter().any(|(path, _)| *path == file.path) {
            let sleeps = |line, text: &str| {
                (line >= file.tests_from && ["sleep(", "sleep_until("].iter().any(|word| names(text, word)))
                    .then_some("")
            };
            for (line, _) in file.each(sleeps) {
                add(line, "a test that sleeps: wait for the event, or use paused time".to_owned());
            }
        }
    }
    findings
}

/// Whether `code` has `word` standing by itself, not as the end or the beginning of a longer name.
pub(crate) fn names(code: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(part_of_name);
        let after = code[at + word.len()..].chars().next().is_some_and(part_of_name);
        let (starts, ends) = (word.starts_with(part_of_name), word.ends_with(part_of_name));
        !(starts && before || ends && after)
    })
}

/// The first line of the part that is built for tests only; by convention tests come last in a file.
fn tests_from(code: &str) -> usize {
    let lines: Vec<_> = code.lines().map(str::trim).collect();
    let is_module = |line: usize| {
        let rest = lines[line + 1..].iter().find(|line| !line.starts_with("#["));
        rest.is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
    };
    (0..lines.len()).find(|&line| lines[line] == "#[cfg(test)]" && is_module(line)).unwrap_or(usize::MAX)
}

/// Replaces what stands in comments, strings and characters by blanks, so that a search finds code only.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` if none begins there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let is = |offset: usize, wanted: char| chars.get(at + offset) == Some(&wanted);
    let position = |from: usize, found: &dyn Fn(usize) -> bool| (from..chars.len()).find(|&i| found(i));
    match chars[at] {
        '/' if is(1, '/') => position(at, &|i| chars[i] == '\n').unwrap_or(chars.len()),
        '/' if is(1, '*') => block_comment_end(chars, at),
        '"' => quoted_end(chars, at, '"'),
        // A lifetime has no closing quote two places on.
        '\'' if is(1, '\\') || is(2, '\'') => quoted_end(chars, at, '\''),
        'r' if is(1, '"') || is(1, '#') => {
            let in_name = |c: &char| c.is_alphanumeric() || *c == '_';
            let before = at.checked_sub(1).map(|i| chars[i]).filter(|c| !matches!(c, 'b' | 'c'));
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            if before.as_ref().is_some_and(in_name) || chars.get(at + 1 + hashes) != Some(&'"') {
                return at;
            }
            let closes =
                |i: usize| chars[i] == '"' && chars[i + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
            position(at + 2 + hashes, &closes).map_or(chars.len(), |i| i + 1 + hashes)
        }
        _ => at,
    }
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut i = at + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut i, mut depth) = (at, 0);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&[SourceFile::new(path.to_owned(), text)])
    }

    #[test]
    fn only_code_is_left_of_a_text() {
        let text = "a // sleep(\nb /* x /* y */ z */ c \"d\\\"e\" 'f' '\\'' r#\"g\"h\"# &'life i r\"j\" br\"k\"";
        let code = blank(text);
        let words: Vec<_> = code.split_whitespace().collect();
        assert_eq!(words, ["a", "b", "c", "&'life", "i", "b"], "{code}");
        assert_eq!(code.chars().count(), text.chars().count());
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn a_word_is_found_only_by_itself() {
        assert!(names("tokio::time::sleep(d)", "sleep("));
        assert!(!names("my_sleep(d)", "sleep("));
        assert!(names("use clap::Parser", "clap"));
        assert!(!names("clapper", "clap"));
    }

    #[test]
    fn a_clock_in_a_pure_crate_is_found_outside_its_tests() {
        let text = "fn f() { SystemTime::now(); }\n#[cfg(test)]\nmod tests {\n fn g() { Instant::now(); }\n}\n";
        let found = findings("crates/sync-core/src/a.rs", text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("crates/sync-core/src/a.rs:1: SystemTime::now"));
        assert!(findings("crates/sync-client/src/a.rs", text).is_empty());
    }

    #[test]
    fn a_sleeping_or_ignored_test_and_an_unfinished_function_are_found() {
        let found = findings("relay/tests/it/a.rs", "fn f() { sleep(d); }\n#[ignore = \"x\"]\nfn g() { todo!() }\n");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(findings("relay/src/a.rs", "fn f() { sleep(d); }").is_empty());
        assert_eq!(findings("relay/src/a.rs", "#[cfg(test)]\nmod tests {\n f(sleep(d)); }").len(), 1);
    }

    #[test]
    fn a_long_file_is_found() {
        assert!(findings("vectors/check.py", &"x\n".repeat(MAX_LINES)).is_empty());
        assert_eq!(findings("vectors/check.py", &"x\n".repeat(MAX_LINES + 1)).len(), 1);
    }

    #[test]
    fn a_module_declared_for_tests_is_a_test() {
        let mut files = [
            SourceFile::new("crates/a/src/lib.rs".to_owned(), "#[cfg(test)]\npub(crate) mod kit;\nmod real;\n"),
            SourceFile::new("crates/a/src/kit.rs".to_owned(), "fn f() { sleep(d); }"),
            SourceFile::new("crates/a/src/real.rs".to_owned(), "fn f() { sleep(d); }"),
        ];
        mark_test_modules(&mut files);
        let found = check(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("crates/a/src/kit.rs:1"));
    }
}

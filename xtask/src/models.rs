//! `models`: has Verifpal look at every model in `docs/models`, and compares what it finds with what stands in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::process::{capture, cargo, program, root, run as run_program};
use crate::{Failure, failed, no_arguments};

/// The version whose results are quoted: another one searches in another way.
const VERSION: &str = "1.6.7";

/// Where the models are.
const FOLDER: &str = "docs/models";

/// A model, and what its first lines say of it.
struct Model {
    path: PathBuf,
    /// How many times each principal runs at once.
    sessions: String,
    /// Verifpal's code of the verdicts: a letter for the kind of each query and 0 if it holds, 1 if there is an attack.
    expected: String,
    /// The queries, in their order.
    queries: Vec<String>,
}

/// `cargo xtask models`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    no_arguments(args)?;
    let verifpal = installed()?;
    let mut wrong = 0;
    println!("{:<24}  {:<4}  {:<8}  {:<8}  query", "model", "runs", "expected", "seen");
    for model in read(&root().join(FOLDER))? {
        let started = Instant::now();
        let path = model.path.to_string_lossy();
        let args = ["verify", "--quiet", "--result-code", "--sessions", &model.sessions, &path];
        let seen = verdicts(capture(&mut program(&verifpal, &args))?.trim());
        let expected = verdicts(&model.expected);
        let name = model.path.file_stem().unwrap_or_default().to_string_lossy();
        if seen.len() != model.queries.len() {
            return Err(format!("{name}: Verifpal gave {} verdicts for {} queries", seen.len(), model.queries.len()));
        }
        for ((query, seen), expected) in model.queries.iter().zip(&seen).zip(&expected) {
            let mark = if seen == expected { "" } else { "   <-- not as expected" };
            wrong += usize::from(seen != expected);
            let runs = &model.sessions;
            println!("{name:<24}  {runs:<4}  {:<8}  {:<8}  {query}{mark}", word(expected), word(seen));
        }
        println!("{:<24}  {:.1} s", "", started.elapsed().as_secs_f32());
    }
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} queries end otherwise than the models say")) }
}

/// `c0a1` as `c0` and `a1`.
fn verdicts(code: &str) -> Vec<String> {
    let chars: Vec<char> = code.chars().collect();
    chars.chunks(2).map(|pair| pair.iter().collect()).collect()
}

fn word(verdict: &str) -> &'static str {
    if verdict.ends_with('0') { "holds" } else { "attack" }
}

/// The program, built the first time.
fn installed() -> Result<PathBuf, Failure> {
    let folder = root().join("target").join(format!("verifpal-{VERSION}"));
    let binary = folder.join("bin").join("verifpal");
    if binary.exists() {
        return Ok(binary);
    }
    println!("missing: verifpal {VERSION}, which looks for attacks in models; building it takes some minutes, once");
    let into = folder.to_string_lossy().into_owned();
    let mut install = cargo(&["install", "verifpal", "--version", VERSION, "--locked", "--quiet", "--root", &into]);
    // It asks for a newer compiler than ours, and builds with ours all the same once that is let have its features.
    install.arg("--ignore-rust-version").env("RUSTC_BOOTSTRAP", "1");
    // Its authors' own choice is slow to build, and gains little for models as small as these.
    install.env("CARGO_PROFILE_RELEASE_LTO", "false").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    run_program(&mut install)?;
    Ok(binary)
}

/// All models of a folder, by name.
fn read(folder: &Path) -> Result<Vec<Model>, Failure> {
    let mut models = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| failed("read the models", e))? {
        let path = entry.map_err(|e| failed("read the models", e))?.path();
        if path.extension().is_some_and(|e| e == "vp") {
            let text = fs::read_to_string(&path).map_err(|e| failed(&format!("read {}", path.display()), e))?;
            models.push(parse(path, &text)?);
        }
    }
    models.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(models)
}

/// What a model says of itself in the line `// Expected: CODE, sessions N`, and its queries.
fn parse(path: PathBuf, text: &str) -> Result<Model, Failure> {
    let name = path.display().to_string();
    let line = text.lines().find_map(|line| line.strip_prefix("// Expected: "));
    let (expected, sessions) = line
        .and_then(|line| line.trim().split_once(", sessions "))
        .ok_or(format!("{name} has no line '// Expected: CODE, sessions N'"))?;
    let queries = text.split_once("queries[").map_or("", |(_, queries)| queries);
    let queries: Vec<String> =
        queries.lines().map(str::trim).filter(|line| line.contains('?')).map(str::to_owned).collect();
    if verdicts(expected).len() != queries.len() {
        return Err(format!("{name}: '{expected}' is not one verdict for each of its {} queries", queries.len()));
    }
    Ok(Model { path, sessions: sessions.to_owned(), expected: expected.to_owned(), queries })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_says_what_is_expected_of_it() {
        let text = "// Expected: c0a1, sessions 2\nattacker[active]\nqueries[\n\tconfidentiality? a\n\tauthentication? A -> B: b\n]\n";
        let model = parse("x.vp".into(), text).expect("it is whole");
        assert_eq!((model.expected.as_str(), model.sessions.as_str()), ("c0a1", "2"));
        assert_eq!(model.queries, ["confidentiality? a", "authentication? A -> B: b"]);
        assert!(parse("x.vp".into(), &text.replace("c0a1", "c0")).is_err(), "one query has no verdict");
        assert!(parse("x.vp".into(), &text.replace("Expected", "Seen")).is_err(), "nothing is expected");
    }

    #[test]
    fn every_model_of_this_repository_says_so() {
        let models = read(&root().join(FOLDER)).expect("all of them are whole");
        let controls = models.iter().filter(|model| model.expected.contains('1')).count();
        assert!(models.len() > controls && controls > 0, "models that hold, and models that must not");
        let readme = fs::read_to_string(root().join(FOLDER).join("README.md")).expect("there is one");
        for model in models {
            let name = model.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let line = readme.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            let line = line.unwrap_or_else(|| panic!("README.md says nothing of {name}"));
            let quoted = format!("| `{}`, {} |", model.expected, model.sessions);
            assert!(line.contains(&quoted), "README.md does not quote {quoted} of {name}");
        }
    }
}

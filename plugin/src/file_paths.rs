//! Which paths a page may name: those that a scope of its window's permission allows, and those that a person gave it. A page that
//! was taken over reads and writes nothing else.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Component, Path, PathBuf, Prefix};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use sync_client::{Code, SyncError};
use tauri::ipc::{CommandArg, CommandItem, CommandScope, InvokeError};
use tauri::utils::config::FsScope;
use tauri::{Manager, Runtime};

/// How many files that persons gave to a page it may still put; the first ones go.
const GIVEN: usize = 1_024;

/// One entry of a scope: a path or a pattern, which may begin with a variable such as `$DOWNLOAD`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Entry {
    Pattern(PathBuf),
    Object { path: PathBuf },
}

/// The scope of the permission by which a window calls a command with paths.
#[derive(Debug)]
pub(crate) struct PathScope {
    command: &'static str,
    allow: Vec<PathBuf>,
    deny: Vec<PathBuf>,
}

impl<'de, R: Runtime> CommandArg<'de, R> for PathScope {
    fn from_command(command: CommandItem<'de, R>) -> Result<Self, InvokeError> {
        let name = command.name;
        let scope = CommandScope::<Entry>::from_command(command)?;
        Ok(Self { command: name, allow: patterns(scope.allows()), deny: patterns(scope.denies()) })
    }
}

fn patterns(entries: &[Arc<Entry>]) -> Vec<PathBuf> {
    let pattern = |entry: &Arc<Entry>| match &**entry {
        Entry::Pattern(path) | Entry::Object { path } => path.clone(),
    };
    entries.iter().map(pattern).collect()
}

// It is no argument of the page's.
#[cfg(feature = "specta")]
impl specta::function::FunctionArg for PathScope {
    fn to_datatype(_: &mut specta::Types) -> Option<specta::datatype::DataType> {
        None
    }
}

impl PathScope {
    /// Where this path really leads, if the scope allows that or `given` does, which is asked about both. `home` is this device's
    /// data, which no page reads or writes.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for every other path. It is the same whether or not something is there.
    pub(crate) fn allowed<R: Runtime>(
        &self,
        app: &impl Manager<R>,
        path: &Path,
        home: &Path,
        given: impl Fn(&Path) -> bool,
    ) -> Result<PathBuf, SyncError> {
        if !path.is_absolute() {
            return Err(SyncError::new(Code::InvalidArgument, "this path is not absolute"));
        }
        // To look at it would be to call there.
        if leads_elsewhere(path) && !given(path) {
            return Err(self.refused());
        }
        let real = real(path).map_err(|_| self.refused())?;
        // A home that cannot be looked at is not there yet.
        if home.canonicalize().is_ok_and(|home| real.starts_with(home)) {
            return Err(SyncError::new(Code::InvalidArgument, "this path is among the sync client's own data"));
        }
        if given(&real) {
            return Ok(real);
        }
        // Tauri leaves out what it cannot resolve, and then that would not be denied.
        for entry in &self.deny {
            app.path().parse(entry).map_err(|error| self.no_scope(&error))?;
        }
        let scope = |allow: &[PathBuf], dot: Option<bool>| {
            let (allow, deny) = (allow.to_vec(), self.deny.clone());
            let scope = FsScope::Scope { allow, deny, require_literal_leading_dot: dot };
            tauri::scope::fs::Scope::new(app, &scope).map_err(|error| self.no_scope(&error))
        };
        // Where patterns allow nothing that begins with a dot, they deny it all the same.
        let denied = scope(&[], Some(false))?.is_forbidden(&real);
        if !denied && scope(&self.allow, None)?.is_allowed(&real) { Ok(real) } else { Err(self.refused()) }
    }

    fn no_scope(&self, error: &tauri::Error) -> SyncError {
        SyncError::new(Code::InvalidArgument, format!("a scope of {} is none: {error}", self.command))
    }

    fn refused(&self) -> SyncError {
        let permission = format!("0ksync:allow-{}", self.command.replace('_', "-"));
        let message = format!(
            "this window may not use this path: no scope of its permission \"{permission}\" allows it, and no person gave it to \
             the window"
        );
        SyncError::new(Code::InvalidArgument, message)
    }
}

/// Whether a path may lead to another machine, by its look alone. Windows shows whom it asks there who this user is.
fn leads_elsewhere(path: &Path) -> bool {
    match path.components().next() {
        Some(Component::Prefix(prefix)) => !matches!(prefix.kind(), Prefix::Disk(_) | Prefix::VerbatimDisk(_)),
        _ => false,
    }
}

/// A path without links and `..` in it. The last part of it need not be there.
fn real(path: &Path) -> io::Result<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Ok(real);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    Ok(folder.canonicalize()?.join(name))
}

/// Files that persons gave to pages, by dropping them onto a window or in a dialog of the app's.
#[derive(Debug, Default)]
pub(crate) struct Given(Mutex<HashMap<String, VecDeque<Gift>>>);

#[derive(Debug, PartialEq, Eq)]
struct Gift {
    /// As the person's system names it, and then the page.
    named: PathBuf,
    /// Where it lies.
    real: PathBuf,
}

impl Given {
    /// A person gives a file to the page of this webview.
    pub(crate) fn give(&self, webview: &str, path: &Path) -> io::Result<()> {
        let gift = Gift { named: path.to_owned(), real: path.canonicalize()? };
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = given.entry(webview.to_owned()).or_default();
        of.retain(|known| *known != gift);
        if of.len() >= GIVEN {
            of.pop_front();
        }
        of.push_back(gift);
        Ok(())
    }

    /// Whether this file was given to the page: by where it really lies, or as it was named then.
    pub(crate) fn has(&self, webview: &str, path: &Path) -> bool {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        given.get(webview).is_some_and(|of| of.iter().any(|known| known.real == path || known.named == path))
    }

    /// The page is gone.
    pub(crate) fn forget(&self, webview: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(webview);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_path_or_has_one() {
        let read = |text: &str| serde_json::from_str::<Entry>(text).unwrap();
        let entries = [read(r#""$DOWNLOAD/**""#), read(r#"{"path": "/srv/*"}"#)].map(Arc::new);
        assert_eq!(patterns(&entries), [PathBuf::from("$DOWNLOAD/**"), PathBuf::from("/srv/*")]);
        assert!(serde_json::from_str::<Entry>("7").is_err());
    }

    #[test]
    fn a_path_is_looked_at_where_it_leads() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (inside, outside) = (root.join("inside"), root.join("outside"));
        for folder in [&inside, &outside] {
            std::fs::create_dir(folder).unwrap();
        }
        std::fs::write(outside.join("secret"), "x").unwrap();
        assert_eq!(real(&inside.join("../outside/secret")).unwrap(), outside.join("secret"));
        assert_eq!(real(&inside.join("new")).unwrap(), inside.join("new"));
        assert_eq!(real(&inside.join("../outside/new")).unwrap(), outside.join("new"));
        assert!(real(&inside.join("nowhere/new")).is_err());
        assert!(real(&inside.join("nowhere/..")).is_err());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
            assert_eq!(real(&inside.join("link/secret")).unwrap(), outside.join("secret"));
            assert_eq!(real(&inside.join("link/new")).unwrap(), outside.join("new"));
        }
    }

    #[test]
    fn a_path_of_another_machine_is_told_by_its_look() {
        for path in ["/srv/a", "a", ""] {
            assert!(!leads_elsewhere(Path::new(path)), "{path}");
        }
        #[cfg(windows)]
        {
            for path in [r"\\host\share\a", "//host/share/a", r"\\?\UNC\host\share\a", r"\\.\pipe\a", r"\\?\pipe\a"] {
                assert!(leads_elsewhere(Path::new(path)), "{path}");
            }
            for path in [r"C:\a", r"\\?\C:\a"] {
                assert!(!leads_elsewhere(Path::new(path)), "{path}");
            }
        }
    }

    #[test]
    fn what_was_given_to_one_page_is_no_other_ones_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (file, given) = (root.join("a"), Given::default());
        assert!(given.give("main", &file).is_err(), "it is not there");
        std::fs::write(&file, "x").unwrap();
        given.give("main", &file).unwrap();
        assert!(given.has("main", &file) && !given.has("other", &file) && !given.has("main", &root));
        for n in 0..GIVEN {
            let next = root.join(format!("{n}"));
            std::fs::write(&next, "x").unwrap();
            given.give("main", &next).unwrap();
        }
        assert!(!given.has("main", &file), "the first one has gone");
        assert!(given.has("main", &root.join("0")));
        given.forget("main");
        assert!(!given.has("main", &root.join("0")));
    }
}

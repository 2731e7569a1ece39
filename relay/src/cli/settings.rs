//! Settings from a file and from the environment, beside the flags.
//!
//! A file's values become the defaults of the flags with the same names. So each setting is said once, in [`super::Serve`], a
//! flag wins over the environment, that over the file and that over what is built in, and a value in the file is read by the
//! same code as one behind a flag.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use sync_relay::StartError;
use sync_types::Code;
use toml::de::{DeTable, DeValue};

/// What names the file if no flag does.
pub(super) const CONFIG: &str = "KSYNC_RELAY_CONFIG";
/// What every variable of the relay begins with.
const PREFIX: &str = "KSYNC_RELAY_";
/// Variables that have no flag: a secret is to stand in no list of processes, and the log is set up before anything else.
const WITHOUT_FLAG: [&str; 2] = ["KSYNC_RELAY_SECRET", "KSYNC_RELAY_LOG"];
/// Arguments that are none of a file's business.
const NOT_IN_FILE: [&str; 3] = ["config", "help", "version"];
/// From how many edits on two names are no more taken for one mistyped.
const FAR: usize = 5;

/// The names that a file may use.
pub(super) fn keys(serve: &Command) -> BTreeSet<String> {
    let long = serve.get_arguments().filter_map(Arg::get_long).filter(|name| !NOT_IN_FILE.contains(name));
    long.map(str::to_owned).collect()
}

/// The command with the file's values as defaults.
///
/// # Errors
/// `IO` if the file cannot be read; `INVALID_ARGUMENT` for what is no TOML, names no flag, or has a value that the flag would
/// not take. The message names the file and the line.
pub(super) fn with_file(mut serve: Command, path: &Path) -> Result<Command, StartError> {
    let text = std::fs::read_to_string(path).map_err(|e| io(path, &e))?;
    let at = |offset: usize| {
        let line = text.get(..offset).map_or(0, |before| before.matches('\n').count()) + 1;
        format!("{}, line {line}", path.display())
    };
    let table = DeTable::parse(&text)
        .map_err(|e| invalid(format!("{}: {}", at(e.span().map_or(0, |span| span.start)), e.message())))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for (key, value) in table.get_ref() {
        let name: &str = key.get_ref();
        let place = at(key.span().start);
        let known = keys(&serve);
        if !known.contains(name) {
            return Err(invalid(format!("{place}: there is no setting '{name}'{}", hint(name, known.iter()))));
        }
        let Some(arg) = serve.get_arguments().find(|arg| arg.get_long() == Some(name)).cloned() else { continue };
        let texts = texts(value.get_ref()).ok_or_else(|| {
            let kind = value.get_ref().type_str();
            invalid(format!("{place}: '{name}' is a string, a number, true or false, and not a {kind}"))
        })?;
        let texts: Vec<String> = texts.iter().map(|text| relative_to(folder, &arg, text)).collect();
        accepted(&arg, &texts).map_err(|reason| invalid(format!("{place}: {name}: {reason}")))?;
        // clap keeps defaults for as long as the program runs, and this is read once.
        let defaults: Vec<&'static str> = texts.into_iter().map(|text| &*text.leak()).collect();
        serve = serve.mut_arg(arg.get_id(), |arg| arg.required(false).default_values(defaults));
    }
    Ok(serve)
}

/// A value as it would stand behind the flag; several for a list. `None` for what no flag has.
fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    Some(vec![match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.to_string(),
        DeValue::Boolean(set) => set.to_string(),
        DeValue::Array(items) => {
            return items.iter().map(|item| texts(item.get_ref()).filter(|one| one.len() == 1)?.pop()).collect();
        }
        _ => return None,
    }])
}

/// Paths of a file are relative to its folder, so that it means the same wherever the relay is started.
fn relative_to(folder: &Path, arg: &Arg, text: &str) -> String {
    let join = |path: &str| folder.join(path).to_string_lossy().into_owned();
    if arg.get_value_parser().type_id() == TypeId::of::<PathBuf>() {
        return join(text);
    }
    for (flag, scheme) in [("access", "token:"), ("store", "sqlite:")] {
        if arg.get_long() == Some(flag)
            && let Some(path) = text.strip_prefix(scheme)
        {
            return format!("{scheme}{}", join(path));
        }
    }
    if matches!(arg.get_long(), Some("wake" | "content")) && !matches!(text, "on" | "off") {
        return join(text);
    }
    text.to_owned()
}

/// Whether the flag would take these values; otherwise the reason.
fn accepted(arg: &Arg, texts: &[String]) -> Result<(), String> {
    let name = arg.get_long().unwrap_or_default();
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return match texts {
            [one] if one == "true" || one == "false" => Ok(()),
            _ => Err("is true or false".to_owned()),
        };
    }
    let alone = Command::new("file").no_binary_name(true).disable_help_flag(true);
    let given = texts.iter().map(|text| format!("--{name}={text}"));
    // Without its variable, which would be read here too.
    match alone.arg(arg.clone().required(false).env(None::<&'static str>)).try_get_matches_from(given) {
        Ok(_) => Ok(()),
        Err(e) => {
            let text = e.to_string();
            let first = text.lines().next().unwrap_or_default();
            Err(first.trim_start_matches("error: ").to_owned())
        }
    }
}

/// Refuses variables that nothing reads: a setting with a slip in its name would be left out in silence.
pub(super) fn check_environment<'a>(
    command: &Command,
    names: impl Iterator<Item = &'a OsStr>,
) -> Result<(), StartError> {
    let mut known: BTreeSet<String> = WITHOUT_FLAG.iter().map(|name| (*name).to_owned()).collect();
    collect(command, &mut known);
    for name in names {
        let name = name.to_string_lossy();
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        // Kubernetes gives each container such variables for a service called ksync-relay.
        let of_kubernetes = rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_");
        if !known.contains(&*name) && !of_kubernetes {
            return Err(invalid(format!("there is no variable {name}{}", hint(&name, known.iter()))));
        }
    }
    Ok(())
}

fn collect(command: &Command, into: &mut BTreeSet<String>) {
    into.extend(command.get_arguments().filter_map(Arg::get_env).map(|name| name.to_string_lossy().into_owned()));
    command.get_subcommands().for_each(|one| collect(one, into));
}

/// The known name that is meant, if one is near enough.
fn hint<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    match known.map(|one| (distance(name, one), one)).min() {
        Some((edits, one)) if edits < FAR => format!(": is '{one}' meant?"),
        _ => "; see sync-relay serve --help".to_owned(),
    }
}

/// How many characters have to be put in, taken out or changed to get from one name to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn io(path: &Path, source: &std::io::Error) -> StartError {
    StartError { code: Code::Io, message: format!("cannot read {}: {source}", path.display()) }
}

fn invalid(message: String) -> StartError {
    StartError { code: Code::InvalidArgument, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_a_name_is_told() {
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("lisen", "listen"), 1);
        assert_eq!(distance("max_group_bytes", "max-group-bytes"), 2);
        let known = ["listen".to_owned(), "http".to_owned()];
        assert_eq!(hint("listne", known.iter()), ": is 'listen' meant?");
        assert!(hint("completely-else", known.iter()).contains("--help"));
    }
}

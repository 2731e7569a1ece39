//! Changing a token file: as a whole or not at all, with everything else in it as it was.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use sync_types::Code;
use zeroize::Zeroizing;

use super::{HASHED, Token, invalid, lines, parse, read};
use crate::{StartError, date};

/// How many random bytes a token is made from.
const RANDOM: usize = 20;
/// The longest name.
const NAME: usize = 64;

/// What a new token is for.
#[derive(Clone, Debug, Default)]
pub struct New {
    /// Whose it is: up to 64 of letters, digits and `. _ - @ +`.
    pub name: String,
    /// On which day it is good for the last time: the first millisecond of it, since the Unix epoch.
    pub last_day_ms: Option<u64>,
    /// How many groups may be there that were made with it.
    pub groups: Option<u64>,
    /// How many bytes these may hold together.
    pub bytes: Option<u64>,
}

/// Makes a token and puts its hash into the file, which is made if there is none. The token itself is nowhere but in what
/// this returns.
///
/// # Errors
/// `INVALID_ARGUMENT` for a name that is taken or none, and for a file that makes no sense; `IO`, `DISK_FULL`. The file stays
/// as it was.
pub fn add(file: &Path, new: &New) -> Result<Zeroizing<String>, StartError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
    if new.name.is_empty() || new.name.len() > NAME || !new.name.chars().all(fits) {
        let message = "a token's name is 1 to 64 of letters, digits and . _ - @ +";
        return Err(StartError::new(Code::InvalidArgument, message));
    }
    let text = match file.try_exists() {
        Ok(false) => "# Access tokens of this relay; see sync-relay admin token.\n".to_owned(),
        _ => {
            let text = read(file)?;
            // What a running relay would not take is not made longer.
            if lines(&text).next().is_some() {
                parse(&text).map_err(|reason| invalid(file, &reason))?;
            }
            text
        }
    };
    if list_of(&text).any(|token| token.name.as_deref() == Some(&new.name)) {
        return Err(invalid(
            file,
            &format!("'{}' has a token already: revoke that first, or choose another name", new.name),
        ));
    }
    let mut random = Zeroizing::new([0; RANDOM]);
    getrandom::fill(&mut random[..])
        .map_err(|e| StartError::new(Code::Internal, format!("the system gives no randomness: {e}")))?;
    let token = Zeroizing::new(BASE32_NOPAD.encode(&random[..]).to_ascii_lowercase());
    let mut line = format!("{HASHED}{} name={}", HEXLOWER.encode(&Sha256::digest(token.as_bytes())), new.name);
    if let Some(last) = new.last_day_ms {
        line += &format!(" expires={}", date::day(last));
    }
    if let Some(groups) = new.groups {
        line += &format!(" groups={groups}");
    }
    if let Some(bytes) = new.bytes {
        line += &format!(" bytes={bytes}");
    }
    let separator = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    write(file, &format!("{text}{separator}{line}\n"))?;
    Ok(token)
}

/// Revokes the token of that name. Its line stays, so that the list tells of it.
///
/// # Errors
/// As [`add`]; `INVALID_ARGUMENT` too if nobody has that name.
pub fn revoke(file: &Path, name: &str, now_ms: u64) -> Result<(), StartError> {
    let text = read(file)?;
    parse(&text).map_err(|reason| invalid(file, &reason))?;
    let mut found = false;
    let revoked: Vec<String> = text
        .lines()
        .map(|line| match Token::parse(line.trim()) {
            // A token in the clear has no name, and neither has a comment.
            Ok(token) if token.name.as_deref() == Some(name) && token.revoked.is_none() => {
                found = true;
                format!("{} revoked={}", line.trim(), date::day(now_ms))
            }
            _ => line.to_owned(),
        })
        .collect();
    if !found {
        return Err(invalid(file, &format!("it has no token of the name '{name}' that is not revoked")));
    }
    write(file, &(revoked.join("\n") + "\n"))
}

/// The tokens of a file.
///
/// # Errors
/// `IO`, or `INVALID_ARGUMENT` for a file that makes no sense.
pub fn list(file: &Path) -> Result<Vec<Token>, StartError> {
    parse(&read(file)?).map_err(|reason| invalid(file, &reason))
}

fn list_of(text: &str) -> impl Iterator<Item = Token> {
    lines(text).filter_map(|(_, line)| Token::parse(line).ok())
}

/// Writes the file beside itself and renames it, so that a relay that reads it sees the old or the new one.
fn write(file: &Path, text: &str) -> Result<(), StartError> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(".new");
    let draft = Path::new(&draft);
    let written = || -> std::io::Result<()> {
        match std::fs::remove_file(draft) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut out = options.open(draft)?;
        #[cfg(unix)]
        keep_owner(file, &out)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        std::fs::rename(draft, file)?;
        #[cfg(unix)]
        if let Some(folder) = file.parent() {
            File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()?;
        }
        Ok(())
    };
    written().map_err(|e| StartError::io("write", file, &e))
}

/// Whoever may read the old file, such as the relay's own user, may read the new one; a first one is its folder's owner's.
#[cfg(unix)]
fn keep_owner(file: &Path, out: &File) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let like = match std::fs::metadata(file) {
        Ok(old) => {
            out.set_permissions(old.permissions())?;
            old
        }
        Err(_) => match file.parent().map(std::fs::metadata) {
            Some(Ok(folder)) => folder,
            _ => return Ok(()),
        },
    };
    // Only root gives files away; for others it is theirs already.
    let _ = std::os::unix::fs::fchown(out, Some(like.uid()), Some(like.gid()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Tokens;

    #[test]
    fn a_token_is_added_used_listed_and_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        let last_day_ms = date::parse("2030-05-31");
        let token =
            add(&file, &New { name: "alice".into(), last_day_ms, groups: Some(3), bytes: Some(5_000) }).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            !text.contains(&**token) && text.contains("name=alice expires=2030-05-31 groups=3 bytes=5000"),
            "{text}"
        );
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions()) & 0o777, 0o600);
        assert!(add(&file, &New { name: "alice".into(), ..New::default() }).is_err(), "a name is one token's");
        for name in ["", "a b", "a=b", "é", &"x".repeat(65)] {
            assert!(add(&file, &New { name: name.into(), ..New::default() }).is_err(), "{name}");
        }
        add(&file, &New { name: "bob".into(), ..New::default() }).unwrap();
        let now = date::parse("2029-01-01").unwrap();
        let tokens = Tokens::read(&file).unwrap();
        assert_eq!(tokens.grant(token.as_bytes(), now).unwrap().groups, Some(3));
        assert!(revoke(&file, "carol", now).is_err());
        revoke(&file, "alice", now).unwrap();
        assert!(revoke(&file, "alice", now).is_err(), "once");
        tokens.reload();
        assert_eq!(tokens.grant(token.as_bytes(), now), None);
        let listed = list(&file).unwrap();
        assert_eq!(listed.iter().map(|t| t.name.as_deref().unwrap()).collect::<Vec<_>>(), ["alice", "bob"]);
        assert_eq!((listed[0].revoked.as_deref(), listed[0].bytes), (Some("2029-01-01"), Some(5_000)));
        assert_eq!(tokens.most_bytes(&listed[0].hash), Some(5_000), "of what it made");
    }

    #[test]
    fn what_else_is_in_a_file_stays_and_a_broken_one_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        std::fs::write(&file, "# ours\nold token").unwrap();
        add(&file, &New { name: "new".into(), ..New::default() }).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# ours\nold token\nsha256:"), "{text}");
        std::fs::write(&file, "sha256:zz\n").unwrap();
        assert!(add(&file, &New { name: "more".into(), ..New::default() }).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "sha256:zz\n");
    }
}

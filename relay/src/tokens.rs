//! Access tokens: who may make groups on a relay that is not open, until when, how many, and how much these may hold.
//!
//! They stand in a file, one a line: a token in the clear, or `sha256:` and 64 hexadecimal digits so that the file holds no
//! secret, and behind that what it is for: `name=alice expires=2027-01-31 groups=5 bytes=1000000000 revoked=2026-12-01`. Empty
//! lines and lines that begin with `#` do not count. A running relay takes up changes of the file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use sync_types::Code;

use crate::{StartError, date};

pub mod edit;

/// How a token is remembered.
pub type TokenHash = [u8; 32];

/// How large a file may be, in bytes: some thousands of tokens.
const MOST_BYTES: u64 = 1 << 20;
/// What begins a line that holds no token in the clear.
const HASHED: &str = "sha256:";

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token's SHA-256.
    pub hash: TokenHash,
    /// Whose it is.
    pub name: Option<String>,
    /// From when on it makes no groups any more, in milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
    /// How many groups may be there that were made with it.
    pub groups: Option<u64>,
    /// How many bytes these may hold together, also once it makes no more of them.
    pub bytes: Option<u64>,
    /// When it was revoked, as it stands in the file.
    pub revoked: Option<String>,
}

/// What a token is good for at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which token.
    pub hash: TokenHash,
    /// How many groups may be there that were made with it.
    pub groups: Option<u64>,
}

/// What became of a file that was looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// Nothing has changed.
    Same,
    /// So many tokens are known now.
    Changed(usize),
    /// It cannot be used; the list before holds.
    Failed(String),
}

/// The tokens of a file. Clones share one list.
#[derive(Clone)]
pub struct Tokens {
    file: PathBuf,
    known: Arc<RwLock<Known>>,
}

struct Known {
    text: TokenHash,
    tokens: Vec<Token>,
    /// [`Token::bytes`], which is asked for at every push.
    most_bytes: HashMap<TokenHash, u64>,
    problem: Option<String>,
}

impl Known {
    fn of(text: &str) -> Result<Self, String> {
        let tokens = parse(text)?;
        let most_bytes = tokens.iter().filter_map(|token| Some((token.hash, token.bytes?))).collect();
        Ok(Self { text: Sha256::digest(text).into(), tokens, most_bytes, problem: None })
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens of {}", self.len(), self.file.display())
    }
}

impl Tokens {
    /// Reads a file.
    ///
    /// # Errors
    /// `IO` if it cannot be read, `INVALID_ARGUMENT` for a line that makes no sense or a file without a line.
    pub fn read(file: &Path) -> Result<Self, StartError> {
        let known = Known::of(&read(file)?).map_err(|reason| invalid(file, &reason))?;
        Ok(Self { file: file.to_owned(), known: Arc::new(RwLock::new(known)) })
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// How many lines hold a token.
    pub fn len(&self) -> usize {
        self.with(|known| known.tokens.len())
    }

    /// Whether there is none; a file without a token is refused, so there always is one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many make groups at present.
    pub fn usable(&self, now_ms: u64) -> usize {
        self.with(|known| known.tokens.iter().filter(|token| token.is_usable(now_ms)).count())
    }

    /// Whether one of them is for so much and no more.
    pub fn are_counted(&self) -> bool {
        self.with(|known| known.tokens.iter().any(|token| token.groups.is_some() || token.bytes.is_some()))
    }

    /// How many bytes the groups that were made with a token may hold together, whether or not it makes more of them; `None`
    /// where its line does not say or is gone.
    pub fn most_bytes(&self, token: &TokenHash) -> Option<u64> {
        self.with(|known| known.most_bytes.get(token).copied())
    }

    /// What is wrong with the file since it was read last; the list that was read then holds.
    pub fn problem(&self) -> Option<String> {
        self.with(|known| known.problem.clone())
    }

    /// Looks at the file again.
    pub fn reload(&self) -> Reloaded {
        let read = read(&self.file).and_then(|text| {
            let hash: TokenHash = Sha256::digest(&text).into();
            if self.with(|known| known.text == hash) {
                return Ok(None);
            }
            Known::of(&text).map(Some).map_err(|reason| invalid(&self.file, &reason))
        });
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(None) if known.problem.take().is_none() => Reloaded::Same,
            Ok(None) => Reloaded::Changed(known.tokens.len()),
            Ok(Some(new)) => {
                *known = new;
                Reloaded::Changed(known.tokens.len())
            }
            Err(e) if known.problem.as_deref() == Some(&e.message) => Reloaded::Same,
            Err(e) => {
                known.problem = Some(e.message.clone());
                Reloaded::Failed(e.message)
            }
        }
    }

    /// What this token is good for now; `None` for a wrong one, and for one that has expired or was revoked. Takes as long
    /// for a wrong token as for a right one.
    pub fn grant(&self, token: &[u8], now_ms: u64) -> Option<Grant> {
        let hash: TokenHash = Sha256::digest(token).into();
        self.with(|known| {
            // Every line is compared, so that the time tells neither whether nor where one matched.
            let mut found = None;
            for token in &known.tokens {
                if bool::from(token.hash.ct_eq(&hash)) && token.is_usable(now_ms) {
                    found = Some(Grant { hash, groups: token.groups });
                }
            }
            found
        })
    }

    fn with<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Token {
    /// Whether it makes groups at this time.
    pub fn is_usable(&self, now_ms: u64) -> bool {
        self.revoked.is_none() && self.expires_ms.is_none_or(|at| now_ms < at)
    }

    /// One without anything behind it.
    fn plain(hash: TokenHash) -> Self {
        Self { hash, name: None, expires_ms: None, groups: None, bytes: None, revoked: None }
    }

    /// Reads a line that counts.
    fn parse(line: &str) -> Result<Self, String> {
        let Some(rest) = line.strip_prefix(HASHED) else {
            let hash = Sha256::digest(line).into();
            return Ok(Self::plain(hash));
        };
        let mut words = rest.split_ascii_whitespace();
        let hash = HEXLOWER.decode(words.next().unwrap_or_default().as_bytes()).ok().and_then(|b| b.try_into().ok());
        let hash = hash.ok_or("behind sha256: stand 64 hexadecimal digits in lower case")?;
        let mut token = Self::plain(hash);
        for word in words {
            match word.split_once('=') {
                Some(("name", name)) => token.name = Some(name.to_owned()),
                Some(("expires", text)) => {
                    let first = date::parse(text).ok_or(format!("'{text}' is no day as in 2027-01-31"))?;
                    // It is good on that day still.
                    token.expires_ms = Some(first + date::DAY_MS);
                }
                Some(("groups", text)) => {
                    token.groups = Some(text.parse().map_err(|_| format!("'{text}' is no number of groups"))?);
                }
                Some(("bytes", text)) => {
                    token.bytes = Some(text.parse().map_err(|_| format!("'{text}' is no number of bytes"))?);
                }
                Some(("revoked", text)) => token.revoked = Some(text.to_owned()),
                _ => return Err(format!("'{word}' is none of name=, expires=, groups=, bytes=, revoked=")),
            }
        }
        Ok(token)
    }
}

/// The lines that count, with their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().map(str::trim).enumerate().map(|(n, line)| (n + 1, line));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn parse(text: &str) -> Result<Vec<Token>, String> {
    let tokens: Vec<Token> = lines(text)
        .map(|(number, line)| Token::parse(line).map_err(|reason| format!("line {number}: {reason}")))
        .collect::<Result<_, _>>()?;
    if tokens.is_empty() { Err("it holds no token".to_owned()) } else { Ok(tokens) }
}

fn read(file: &Path) -> Result<String, StartError> {
    use std::io::Read;
    let failed = |e: std::io::Error| StartError::io("read", file, &e);
    let mut text = String::new();
    let open = std::fs::File::open(file).map_err(failed)?;
    open.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(invalid(file, "it is larger than 1 MiB"));
    }
    Ok(text)
}

fn invalid(file: &Path, reason: &str) -> StartError {
    StartError::new(Code::InvalidArgument, format!("the token file {}: {reason}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_800_000_000_000;

    fn of(text: &str) -> (tempfile::TempDir, Tokens) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokens"), text).unwrap();
        let tokens = Tokens::read(&folder.path().join("tokens")).unwrap();
        (folder, tokens)
    }

    fn line(token: &str, rest: &str) -> String {
        format!("sha256:{} {rest}\n", HEXLOWER.encode(&Sha256::digest(token)))
    }

    #[test]
    fn tokens_are_taken_in_the_clear_and_hashed() {
        let hashed = HEXLOWER.encode(&Sha256::digest("second"));
        let (_folder, tokens) = of(&format!("# who\n\n first one \nsha256:{hashed}\n"));
        let permits = |token: &str| tokens.grant(token.as_bytes(), NOON).is_some();
        assert!(permits("first one") && permits("second"));
        assert!(!permits("") && !permits("# who") && !permits(&hashed));
        assert!(format!("{tokens:?}").starts_with("2 tokens of") && !format!("{tokens:?}").contains(&hashed));
    }

    #[test]
    fn a_token_ends_with_its_last_day_or_when_it_is_revoked() {
        let day = date::day(NOON);
        let text = line("a", &format!("name=a expires={day}"))
            + &line("b", "name=b revoked=2026-01-01 bytes=700")
            + &line("c", "groups=2 bytes=1000000000000");
        let (_folder, tokens) = of(&text);
        let end = date::parse(&day).unwrap() + date::DAY_MS;
        assert!(tokens.grant(b"a", end - 1).is_some() && tokens.grant(b"a", end).is_none());
        assert!(tokens.grant(b"b", NOON).is_none());
        assert_eq!(tokens.grant(b"c", NOON).unwrap().groups, Some(2));
        assert_eq!((tokens.len(), tokens.usable(end)), (3, 1));
        // What was made with it before is bounded still.
        let most = |token: &str| tokens.most_bytes(&Sha256::digest(token).into());
        assert_eq!(["a", "b", "c", "d"].map(most), [None, Some(700), Some(1_000_000_000_000), None]);
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_line() {
        for (text, said) in [
            ("", "no token"),
            ("# none yet\n", "no token"),
            ("a\nsha256:abc\n", "line 2"),
            (&line("a", "expires=soon"), "'soon'"),
            (&line("a", "groups=-1"), "'-1'"),
            (&line("a", "bytes=1GB"), "'1GB'"),
            (&line("a", "colour=red"), "'colour=red'"),
        ] {
            let reason = parse(text).unwrap_err();
            assert!(reason.contains(said), "{text:?}: {reason}");
        }
    }

    #[test]
    fn a_file_that_breaks_keeps_the_last_good_list() {
        let (folder, tokens) = of("one\n");
        let path = folder.path().join("tokens");
        assert_eq!(tokens.reload(), Reloaded::Same);
        std::fs::write(&path, "two\nthree\n").unwrap();
        assert_eq!(tokens.reload(), Reloaded::Changed(2));
        assert!(tokens.grant(b"one", NOON).is_none() && tokens.grant(b"two", NOON).is_some());
        for broken in ["", "two\nsha256:zz\n"] {
            std::fs::write(&path, broken).unwrap();
            assert!(matches!(tokens.reload(), Reloaded::Failed(_)));
            assert_eq!(tokens.reload(), Reloaded::Same, "it is said once");
            assert!(tokens.problem().is_some() && tokens.grant(b"two", NOON).is_some());
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(tokens.reload(), Reloaded::Failed(_)));
        std::fs::write(&path, "two\nthree\n").unwrap();
        assert_eq!(tokens.reload(), Reloaded::Changed(2), "mended");
        assert_eq!(tokens.problem(), None);
    }
}

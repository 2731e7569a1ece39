//! Where passphrases come from: a file, the environment, or a person at a terminal. Never an argument, which every process
//! of the machine can read.

use std::io::IsTerminal;
use std::path::Path;

use sync_client::{Code, Passphrase, SyncError, limits};
use zeroize::Zeroizing;

use crate::out::{Done, Failure};

/// What a passphrase is asked for, and where else it may stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The file that the arguments name.
    pub(crate) file: Option<&'a Path>,
    /// The environment's variable.
    pub(crate) variable: &'static str,
    /// What a person is asked.
    pub(crate) question: &'static str,
}

impl Wanted<'_> {
    /// The passphrase of file or environment, if there is one.
    pub(crate) fn given(&self) -> Result<Option<Passphrase>, SyncError> {
        if let Some(path) = self.file {
            return read(path).map(Some);
        }
        let Some(text) = std::env::var_os(self.variable) else { return Ok(None) };
        let text = Zeroizing::new(text.into_encoded_bytes());
        passphrase(&text).map(Some)
    }

    /// The same, or else what a person types; twice, if it is a new one.
    pub(crate) async fn or_asked(&self, new: bool) -> Done<Passphrase> {
        if let Some(passphrase) = self.given()? {
            return Ok(passphrase);
        }
        // Both have to be there: one to be asked on, one to be answered at.
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            let message = format!("a passphrase is needed: set {} or name a file that holds it", self.variable);
            return Err(Failure::new(Code::PassphraseNeeded, message));
        }
        let question = self.question;
        let typed = tokio::task::spawn_blocking(move || {
            let ask = |text: &str| rpassword::prompt_password(text).map(Zeroizing::new);
            let first = ask(&format!("{question}: "))?;
            let same = !new || ask("The same again: ")? == first;
            Ok::<_, std::io::Error>(same.then_some(first))
        });
        match typed.await {
            Ok(Ok(Some(text))) => Ok(Passphrase::new(&text).map_err(SyncError::from)?),
            Ok(Ok(None)) => Err(Failure::new(Code::InvalidArgument, "the two passphrases differ")),
            Ok(Err(error)) => Err(Failure::new(Code::Io, format!("the terminal cannot be read: {error}"))),
            Err(_) => Err(Failure::Interrupted),
        }
    }
}

/// The first line of a file.
fn read(path: &Path) -> Result<Passphrase, SyncError> {
    use std::io::Read;
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * limits::PASSPHRASE_BYTES));
    let most = limits::PASSPHRASE_BYTES as u64 + 2;
    let done = std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    done.map_err(|error| SyncError::new(Code::Io, format!("cannot read {}: {error}", path.display())))?;
    passphrase(&bytes)
}

fn passphrase(bytes: &[u8]) -> Result<Passphrase, SyncError> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line)
        .map_err(|_| SyncError::new(Code::InvalidArgument, "the passphrase that was given is no UTF-8"))?;
    Ok(Passphrase::new(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_end_of_line_is_no_part_of_it() {
        assert!(passphrase(b"correct horse\n").is_ok() && passphrase(b"correct horse\r\n").is_ok());
        assert_eq!(passphrase(b"\n").unwrap_err().code, Code::InvalidArgument);
        assert_eq!(passphrase(b"\xff").unwrap_err().code, Code::InvalidArgument);
        assert_eq!(read(Path::new("/nowhere/at/all")).unwrap_err().code, Code::Io);
    }
}

//! Where output goes: JSON lines for programs, plain words for people, and never both.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use sync_client::{Code, SyncError};

use crate::event::Event;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It failed, and nobody has been told yet.
    Error(SyncError),
    /// It failed, and has said so already.
    Told(Code),
    /// Ctrl-C or SIGTERM came in the middle of it.
    Interrupted,
    /// Whoever read stdout has had enough.
    ReaderGone,
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Error(SyncError::new(code, message))
    }

    /// What went wrong, if something did.
    pub(crate) fn code(&self) -> Option<Code> {
        match self {
            Self::Error(error) => Some(error.code),
            Self::Told(code) => Some(*code),
            Self::Interrupted | Self::ReaderGone => None,
        }
    }
}

/// What a command comes to.
pub(crate) type Done<T = ()> = Result<T, Failure>;

/// The process's output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    json: bool,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            stdout_is_terminal: !json && io::stdout().is_terminal(),
            stderr_is_terminal: !json && io::stderr().is_terminal(),
        }
    }

    /// Whether a person reads stdout as it is written.
    pub(crate) fn to_a_terminal(self) -> bool {
        self.stdout_is_terminal
    }

    /// Tells programs the event, and people the words.
    pub(crate) fn tell(self, event: &Event<'_>, words: impl Display) -> Done {
        self.write(|out| self.line(out, event, words))
    }

    /// Tells programs alone.
    pub(crate) fn tell_programs(self, event: &Event<'_>) -> Done {
        if self.json { self.tell(event, "") } else { Ok(()) }
    }

    /// Tells programs alone, of many at once.
    pub(crate) fn tell_programs_all<'e>(self, events: impl Iterator<Item = Event<'e>>) -> Done {
        if !self.json {
            return Ok(());
        }
        self.write(|out| events.into_iter().try_for_each(|event| self.line(out, &event, "")))
    }

    /// Tells people alone.
    pub(crate) fn say(self, words: impl Display) -> Done {
        if self.json { Ok(()) } else { self.write(|out| writeln!(out, "{words}")) }
    }

    /// Tells something that is no result, on stderr.
    pub(crate) fn note(self, words: impl Display) {
        // Whoever closed stderr does not want to know.
        let _ = writeln!(io::stderr().lock(), "{words}");
    }

    /// As [`Out::note`], but for people alone.
    pub(crate) fn aside(self, words: impl Display) {
        if !self.json {
            self.note(words);
        }
    }

    /// One line of [`Out::tell`], for [`Out::write`].
    pub(crate) fn line(self, out: &mut dyn Write, event: &Event<'_>, words: impl Display) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut *out, event)?;
            out.write_all(b"\n")
        } else {
            writeln!(out, "{words}")
        }
    }

    /// Writes to stdout, buffered and then flushed.
    ///
    /// A reader that is gone is [`Failure::ReaderGone`]; a file on a full disk is an error like any other.
    pub(crate) fn write(self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Done {
        let mut out = io::BufWriter::new(io::stdout().lock());
        write(&mut out).and_then(|()| out.flush()).map_err(|error| {
            // What is left in the buffer has nowhere to go.
            let _ = out.into_parts();
            match error.kind() {
                io::ErrorKind::BrokenPipe => Failure::ReaderGone,
                io::ErrorKind::StorageFull => Failure::new(Code::DiskFull, "the output has no room"),
                _ => Failure::new(Code::Io, format!("cannot write the output: {error}")),
            }
        })
    }

    /// Tells an error: as an event on stdout to programs, in words on stderr to people.
    pub(crate) fn error(self, error: &SyncError) {
        if self.json {
            let _ = self.tell(&Event::from(error), "");
        } else {
            let (red, end) = if self.stderr_is_terminal { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
            let mut text = format!("{red}error{end}: {}\n{}", error.message, error.code.next_step());
            if let Some(ms) = error.retry_after_ms {
                text += &format!(" It may work in {} s.", ms.div_ceil(1000));
            }
            self.note(format_args!("{text} [{}]", error.code));
        }
    }

    /// Shows how far something long is, in a line that the next one replaces. Only to a terminal.
    pub(crate) fn progress(self, words: impl Display) {
        if self.stderr_is_terminal {
            let mut err = io::stderr().lock();
            let _ = write!(err, "\r\x1b[K{words}").and_then(|()| err.flush());
        }
    }

    /// Takes the line of [`Out::progress`] away.
    pub(crate) fn progress_over(self) {
        self.progress("");
    }

    /// Another's text as it may stand among ours: control characters could move the cursor or recolour a terminal.
    pub(crate) fn foreign(self, text: &str) -> String {
        if self.stdout_is_terminal { plain(text) } else { text.to_owned() }
    }
}

/// The text with each character that is more than a character replaced by its escape.
pub(crate) fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' | '\n' => out.push(c),
            c if c.is_control() || turns(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_drive_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\u{202e}c\r"), "a\\u{1b}[2Jb\\u{202e}c\\u{d}");
        assert_eq!(plain("Grüße\t手机\n"), "Grüße\t手机\n");
    }
}

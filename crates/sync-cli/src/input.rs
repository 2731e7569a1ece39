//! Reading stdin and files without holding up the rest. A thread reads, since a read from a terminal cannot be given up.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use sync_client::{Code, SyncError, limits};
use tokio::sync::mpsc;

/// How many lines are read ahead.
const AHEAD: usize = 1024;

/// A line of the input, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Text(Vec<u8>),
    /// More than [`limits::BLOB_BYTES`]; it was read to its end and dropped.
    TooLong,
    Failed(String),
}

/// A file to read from, or stdin for `-`.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read + Send>, SyncError> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(SyncError::new(Code::Io, format!("cannot open {}: {error}", path.display()))),
    }
}

/// The lines of an input, as they come.
pub(crate) fn lines(input: Box<dyn Read + Send>) -> mpsc::Receiver<Line> {
    let (send, receive) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let mut input = BufReader::with_capacity(64 * 1024, input);
        // Ends with the input, or when nobody wants more.
        while let Some(line) = next_line(&mut input) {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receive
}

/// A whole input of at most so many bytes.
pub(crate) async fn whole(input: Box<dyn Read + Send>, most: usize) -> Result<Vec<u8>, SyncError> {
    let read = move || {
        let mut bytes = Vec::new();
        // One byte more than fits is enough to know.
        input.take(most as u64 + 1).read_to_end(&mut bytes).map(|_| bytes)
    };
    let failed = |error: &dyn std::fmt::Display| SyncError::new(Code::Io, format!("cannot read the input: {error}"));
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(bytes)) if bytes.len() > most => Err(too_large(most)),
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}

/// The error for more than fits.
pub(crate) fn too_large(most: usize) -> SyncError {
    SyncError::new(Code::TooLarge, format!("the input has more than the {most} bytes that fit"))
}

fn next_line(input: &mut dyn BufRead) -> Option<Line> {
    let mut line = Vec::new();
    // Two bytes more than fit, for the line's end.
    match input.take(limits::BLOB_BYTES as u64 + 2).read_until(b'\n', &mut line) {
        Ok(0) => return None,
        Ok(_) => {}
        Err(error) => return Some(Line::Failed(error.to_string())),
    }
    let whole = line.ends_with(b"\n");
    if whole {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    if line.len() <= limits::BLOB_BYTES {
        return Some(Line::Text(line));
    }
    match if whole { Ok(()) } else { skip_line(input) } {
        Ok(()) => Some(Line::TooLong),
        Err(error) => Some(Line::Failed(error.to_string())),
    }
}

fn skip_line(input: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let (over, length) = match buffer.iter().position(|b| *b == b'\n') {
            Some(at) => (true, at + 1),
            None => (buffer.is_empty(), buffer.len()),
        };
        input.consume(length);
        if over {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<Line> {
        let mut input = BufReader::with_capacity(4096, bytes);
        std::iter::from_fn(|| next_line(&mut input)).collect()
    }

    fn text(line: &[u8]) -> Line {
        Line::Text(line.to_vec())
    }

    #[test]
    fn lines_end_with_or_without_a_carriage_return_and_the_last_may_end_with_neither() {
        assert_eq!(read(b"a\nb\r\n\nc"), [text(b"a"), text(b"b"), text(b""), text(b"c")]);
        assert_eq!(read(b"\xff\x00\n"), [text(b"\xff\x00")]);
        assert_eq!(read(b""), []);
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        let fits = vec![b'x'; limits::BLOB_BYTES];
        for end in [&b"\n"[..], b"\r\n", b"\nnext\n"] {
            let lines = read(&[&fits[..], end].concat());
            assert_eq!(lines[0], text(&fits));
            assert_eq!(lines.len(), if end.len() > 2 { 2 } else { 1 });
        }
        for more in [1, 2, 3, 100_000] {
            let long = vec![b'x'; limits::BLOB_BYTES + more];
            assert_eq!(read(&[b"a\n", &long[..], b"\nb"].concat()), [text(b"a"), Line::TooLong, text(b"b")], "{more}");
            assert_eq!(read(&long), [Line::TooLong]);
        }
    }
}

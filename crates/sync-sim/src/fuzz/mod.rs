//! What takes bytes from others, each as a function of bytes: for a fuzzer that makes them up, and for a test that tries those
//! which are kept in `corpus/`. A target panics if what it looks at does, and where a claim of its own does not hold.

mod decoders;
mod machines;
pub mod seeds;

use std::path::PathBuf;

use crate::memory;

/// Something that takes bytes from others.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which its folder in the corpus has too.
    pub name: &'static str,
    /// How much memory it may take beside forty times the input, in bytes.
    pub room: usize,
    run: fn(&[u8]) -> bool,
}

impl Target {
    /// Tries one input, and says whether it was taken for what it should be.
    ///
    /// # Panics
    /// If it found something.
    pub fn try_one(&self, input: &[u8]) -> bool {
        let (taken, peak) = memory::peak_of(|| (self.run)(input));
        let most = self.room + 40 * input.len();
        assert!(peak <= most, "{}: {} bytes take {peak} bytes of memory", self.name, input.len());
        taken
    }

    /// The folder with the inputs that are tried in every run of the tests.
    pub fn corpus(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

const fn target(name: &'static str, room: usize, run: fn(&[u8]) -> bool) -> Target {
    Target { name, room, run }
}

/// Every target. A new one is a line here and a folder with one input at least.
pub const TARGETS: &[Target] = &[
    target("frame_to_relay", 64 * KIB, decoders::frame_to_relay),
    target("frame_from_relay", 64 * KIB, decoders::frame_from_relay),
    target("envelope", 64 * KIB, decoders::envelope),
    target("body", MIB, decoders::body),
    target("packed_blobs", 6 * MIB, decoders::packed_blobs),
    target("padding", 64 * KIB, decoders::padding),
    target("presence", 64 * KIB, decoders::presence),
    target("statement", 64 * KIB, decoders::statement),
    target("settings", 64 * KIB, decoders::settings),
    target("link", 64 * KIB, decoders::link),
    target("short_code", 64 * KIB, decoders::short_code),
    target("recovery_words", 64 * KIB, decoders::recovery_words),
    target("kit_snapshot", 64 * KIB, decoders::kit_snapshot),
    target("relay_config", 64 * KIB, decoders::relay_config),
    target("locked_key", 64 * KIB, decoders::locked_key),
    target("backup", 4 * MIB, decoders::backup),
    target("commit", MIB, decoders::commit),
    target("group_info", 4 * MIB, decoders::group_info),
    target("channel_message", 64 * KIB, decoders::channel_message),
    target("store_rows", 8 * MIB, machines::store_rows),
    target("pairing", 16 * MIB, machines::pairing),
    target("device_session", 64 * MIB, machines::device_session),
    target("relay_session", 64 * MIB, machines::relay_session),
];

/// Takes parts off an input: each stands behind its length in two bytes.
pub(crate) struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    pub(crate) fn of(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next part; what is left if that is shorter.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte().unwrap_or_default()) << 8 | usize::from(self.byte().unwrap_or_default());
        let (part, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        part
    }
}

/// A step of a machine's input: what to do, and with what.
pub fn step(what: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a seed is below 64 KiB").to_be_bytes();
    [&[what][..], &length, bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_back() {
        let input = [step(7, b"abc"), step(8, b"")].concat();
        let mut parts = Parts::of(&input);
        assert_eq!((parts.byte(), parts.bytes()), (Some(7), &b"abc"[..]));
        assert_eq!((parts.byte(), parts.bytes()), (Some(8), &b""[..]));
        assert_eq!((parts.byte(), parts.bytes()), (None, &b""[..]));
    }
}

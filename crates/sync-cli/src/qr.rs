//! Pairing links as QR codes for terminals: a character is one module wide and two high.
//!
//! The upper module is the cell's background, and a lower half block is drawn only where the lower module differs. Glyphs of
//! many fonts do not fill their cell, and a full block would leave thin light lines that scanners take for modules; a
//! background has no such edges.

use std::fmt::Write;

use qrcode::{Color, EcLevel, QrCode, Version};

/// The quiet zone around the code, in modules (ISO/IEC 18004 §6.3.8).
const QUIET: usize = 4;

/// The largest version that is drawn: beyond, most terminals and many cameras have no room for it.
const MAX_VERSION: i16 = 10;

/// Black and white from the fixed colour cube: themes and dark terminals change the first 16 colours, never these.
const ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const ON_BLACK: &str = "\x1b[38;5;231;48;5;16m";
const END: &str = "\x1b[0m";

/// Whether a cell's upper and lower modules are dark.
type Cell = (bool, bool);

/// A QR code as rows of cells.
pub(crate) struct Drawing {
    rows: Vec<Vec<Cell>>,
    columns: usize,
}

impl Drawing {
    /// Draws a text; `None` if it is too long for a code that can be scanned from a terminal.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        match code.version() {
            Version::Normal(version) if version <= MAX_VERSION => {}
            _ => return None,
        }
        let columns = code.width() + 2 * QUIET;
        let dark = |x: usize, y: usize| {
            let inside = QUIET..QUIET + code.width();
            inside.contains(&x) && inside.contains(&y) && code[(x - QUIET, y - QUIET)] == Color::Dark
        };
        let row = |y: usize| (0..columns).map(|x| (dark(x, y), dark(x, y + 1))).collect();
        Some(Self { rows: (0..columns).step_by(2).map(row).collect(), columns })
    }

    /// Whether a terminal shows it whole, with so many lines of text below.
    pub(crate) fn fits(&self, (columns, rows): (usize, usize), below: usize) -> bool {
        self.columns <= columns && self.rows.len() + below <= rows
    }

    /// How many columns and rows it takes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.columns, self.rows.len())
    }

    /// The code in its own colours, for a terminal of any theme.
    pub(crate) fn coloured(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let mut colours = "";
            for (upper, lower) in row {
                let wanted = if *upper { ON_BLACK } else { ON_WHITE };
                if wanted != colours {
                    out.push_str(wanted);
                    colours = wanted;
                }
                out.push(if upper == lower { ' ' } else { '▄' });
            }
            let _ = writeln!(out, "{END}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_types::Suite;
    use sync_types::link::{Host, Link, LinkSecret, RelayHint, RelayKind, Side};

    fn link(hosts: &[&str]) -> String {
        let hosts = hosts.iter().map(|h| h.parse::<Host>().unwrap()).collect();
        let relay = RelayHint { endpoint: [0xa5; 32], hosts, kind: RelayKind::Pinned };
        let (secret, fingerprint) = (LinkSecret::new([0x5a; 32]), [0xc3; 32]);
        let link =
            Link { suite: Suite::XWing, app: [7; 8], shows: Side::Member, expires_at: 1, secret, fingerprint, relay };
        link.to_text().unwrap().to_string()
    }

    #[test]
    fn links_are_coded_in_alphanumeric_mode() {
        // As bytes, the same number of characters needs the next larger versions.
        let text = link(&["127.0.0.1:4433"]);
        let version = |text: &str| QrCode::with_error_correction_level(text, EcLevel::M).unwrap().version();
        assert_eq!(version(&text), Version::Normal(8));
        assert_eq!(version(&text.to_lowercase()), Version::Normal(10));
        let long = link(&["127.0.0.1:4433", "[2001:db8::1]:4433"]);
        assert!(matches!(version(&long), Version::Normal(9 | 10)), "{:?}", version(&long));
    }

    #[test]
    fn the_blocks_are_the_codes_modules_with_a_quiet_zone() {
        let text = link(&["127.0.0.1:4433"]);
        let drawing = Drawing::new(&text).unwrap();
        let code = QrCode::with_error_correction_level(&text, EcLevel::M).unwrap();
        assert_eq!(drawing.size(), (57, 29));
        let mut modules = vec![];
        for row in &drawing.rows {
            modules.push(row.iter().map(|c| c.0).collect::<Vec<_>>());
            modules.push(row.iter().map(|c| c.1).collect::<Vec<_>>());
        }
        for (y, row) in modules.iter().enumerate() {
            for (x, dark) in row.iter().enumerate() {
                let inside = (4..53).contains(&x) && (4..53).contains(&y);
                let wanted = inside && code[(x.wrapping_sub(4), y.wrapping_sub(4))] == Color::Dark;
                assert_eq!(*dark, wanted, "{x}, {y}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_not_drawn() {
        let drawing = Drawing::new(&link(&["127.0.0.1:4433"])).unwrap();
        assert!(drawing.fits((57, 32), 3));
        assert!(!drawing.fits((56, 32), 3) && !drawing.fits((80, 31), 3));
        assert!(Drawing::new(&"A".repeat(400)).is_none());
    }

    #[test]
    fn each_line_sets_its_colours_and_gives_them_back() {
        let drawing = Drawing::new("KSYNC:A").unwrap();
        let text = drawing.coloured();
        assert_eq!(text.lines().count(), drawing.size().1);
        for (line, row) in text.lines().zip(&drawing.rows) {
            assert!(line.starts_with(ON_WHITE) && line.ends_with(END));
            // What a terminal makes of it.
            let (mut shown, mut rest, mut upper) = (vec![], line, false);
            while !rest.is_empty() {
                if let Some(behind) = rest.strip_prefix(ON_WHITE) {
                    (upper, rest) = (false, behind);
                } else if let Some(behind) = rest.strip_prefix(ON_BLACK) {
                    (upper, rest) = (true, behind);
                } else if let Some(behind) = rest.strip_prefix(END) {
                    rest = behind;
                } else {
                    let c = rest.chars().next().unwrap();
                    shown.push((upper, if c == '▄' { !upper } else { upper }));
                    rest = &rest[c.len_utf8()..];
                }
            }
            assert_eq!(&shown, row);
        }
    }
}

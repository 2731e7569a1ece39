//! Pairing links as QR codes for the webview.

use std::fmt::Write;

use qrcode::{Color, EcLevel, QrCode};

/// The quiet zone around the code, in modules (ISO/IEC 18004 §6.3.8).
const QUIET: usize = 4;

/// The code as an SVG that brings its own black and white, as a scanner wants it in dark themes too. `None` if the text is too
/// long for any QR code.
pub(crate) fn svg(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let width = code.width();
    let size = width + 2 * QUIET;
    let mut path = String::new();
    for y in 0..width {
        // One rectangle for each run of dark modules: a square for each would leave hairlines between them.
        let mut x = 0;
        while x < width {
            let run = (x..width).take_while(|x| code[(*x, y)] == Color::Dark).count();
            if run > 0 {
                // Writing to a string does not fail.
                let _ = write!(path, "M{} {}h{run}v1h-{run}z", x + QUIET, y + QUIET);
            }
            x += run.max(1);
        }
    }
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {size} {size}\" shape-rendering=\"crispEdges\">\
         <rect width=\"{size}\" height=\"{size}\" fill=\"#fff\"/><path d=\"{path}\" fill=\"#000\"/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dark_module_is_drawn_once_and_the_quiet_zone_is_free() {
        let text = "KSYNC:ABCDEFGH";
        let code = QrCode::with_error_correction_level(text, EcLevel::M).unwrap();
        let drawing = svg(text).unwrap();
        let size = code.width() + 2 * QUIET;
        assert!(drawing.contains(&format!("viewBox=\"0 0 {size} {size}\"")));
        let path = drawing.split("d=\"").nth(1).unwrap().split('"').next().unwrap();
        let mut dark = 0;
        for run in path.split('M').skip(1) {
            let (at, rest) = run.split_once('h').unwrap();
            let (x, y) = at.split_once(' ').unwrap();
            let (x, y): (usize, usize) = (x.parse().unwrap(), y.parse().unwrap());
            let length: usize = rest.split('v').next().unwrap().parse().unwrap();
            assert!(x >= QUIET && y >= QUIET && x + length <= size - QUIET && y < size - QUIET);
            assert!((x..x + length).all(|x| code[(x - QUIET, y - QUIET)] == Color::Dark));
            dark += length;
        }
        assert_eq!(dark, code.to_colors().iter().filter(|c| **c == Color::Dark).count());
        assert_eq!(svg(&"x".repeat(5_000)), None);
    }
}

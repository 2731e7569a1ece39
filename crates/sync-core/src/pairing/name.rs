//! Which names a device may have: such as show as what they are.
//!
//! A name is its device's own word, and no proof of anything: two names may look alike, in one script or in two. What tells
//! devices apart is the check code when pairing, and the id afterwards.

use sync_types::limits;

/// Ranges of characters that show as nothing, or change how others show.
///
/// Those with the property `Default_Ignorable_Code_Point` (Unicode 16.0, DerivedCoreProperties.txt), which holds all
/// zero-width characters, fillers, variation selectors, tags and marks that turn the direction of writing, U+061C among
/// them; then the separators of lines and paragraphs, the blank Braille pattern, and the marks of interlinear annotation.
const INVISIBLE: [(char, char); 20] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
    // Beyond that property.
    ('\u{2028}', '\u{2029}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{fff9}', '\u{fffb}'),
];

/// Checks a device's name: 1 to [`limits::NAME_BYTES`] bytes of UTF-8 that show as what they are, so without control
/// characters and characters that are invisible. A variation selector 16 (U+FE0F) and a joiner (U+200D) may stand behind an
/// emoji, a joiner only where another one follows: many keyboards write emoji so.
///
/// # Errors
/// Says what a name has to be.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.trim().is_empty() {
        return Err("a device's name is not empty");
    }
    if name.len() > limits::NAME_BYTES {
        return Err("a device's name has at most 128 bytes");
    }
    if name.chars().any(char::is_control) {
        return Err("a device's name has no control characters");
    }
    let mut before = None;
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        let in_emoji = match c {
            '\u{fe0f}' => before.is_some_and(is_pictograph),
            '\u{200d}' => {
                let follows = chars.peek().copied().is_some_and(is_pictograph);
                follows && before.is_some_and(|before| is_pictograph(before) || before == '\u{fe0f}')
            }
            _ => false,
        };
        if is_invisible(c) && !in_emoji {
            return Err("a device's name has no invisible characters");
        }
        before = Some(c);
    }
    Ok(())
}

fn is_invisible(c: char) -> bool {
    INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// Whether a character is in the blocks of symbols and pictographs where emoji are (Unicode 16.0, Blocks.txt): all of them
/// are visible but the blank Braille pattern.
fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}') && !is_invisible(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_show_as_what_they_are() {
        let longest = "x".repeat(limits::NAME_BYTES);
        let emoji = ["☕\u{fe0f} Laptop", "👩\u{200d}💻", "❤\u{fe0f}\u{200d}🔥", "👍🏽"];
        for good in ["Pixel 9", "Ünï", "手机", "a", "لوحي", "e\u{301}", &longest].into_iter().chain(emoji) {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "x".repeat(limits::NAME_BYTES + 1);
        for bad in ["", "  ", "a\nb", "a\0", "\u{1b}[2J", "abc\u{202e}def", "a\u{2028}b", "\u{2066}a", "\u{7f}", &long]
        {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_invisible_is_in_a_name() {
        let unseen = "\u{61c}\u{200b}\u{200c}\u{200d}\u{200e}\u{2060}\u{feff}\u{ad}\u{34f}\u{3164}\u{115f}\u{180e}\u{fe0f}\u{e0041}\u{fffb}\u{2800}";
        for unseen in unseen.chars() {
            for name in [format!("Phone{unseen}"), format!("{unseen}Phone"), format!("Pho{unseen}ne"), unseen.into()] {
                assert!(check_name(&name).is_err(), "{name:?}");
            }
        }
        // Nor between emoji where no keyboard puts it.
        for bad in
            ["☕\u{200d}", "☕\u{fe0f}\u{fe0f}", "☕\u{200b}", "☕\u{200d}\u{200d}☕", "\u{2800}\u{fe0f}", "1\u{fe0f}"]
        {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}

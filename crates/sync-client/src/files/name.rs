//! A name for a file on this machine, made of one that another device chose.

/// The longest name that file systems take, in bytes.
const LONGEST: usize = 255;
/// The longest ending that a name keeps when it is cut, with its dot.
const ENDING: usize = 32;
/// What stands in the place of a character that cannot be in a name.
const INSTEAD: char = '_';
/// The name of what has none that could be used.
const NAMELESS: &str = "file";

/// Names that Windows keeps for devices, whatever stands behind a dot.
const RESERVED: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// Makes a file's name of what another device calls a file: one that stays in its folder, on every system. No separators, no
/// control characters and none that turn the direction of what is read, no names of devices, nothing that Windows or a shell's
/// wildcards would take for something else, no spaces and dots at the ends; 1 to 255 bytes. What cannot stand is replaced by `_`.
pub fn safe_file_name(name: &str) -> String {
    let replaced: String = name.chars().map(|c| if may_stand(c) { c } else { INSTEAD }).collect();
    let trimmed = replaced.trim_matches(is_edge);
    let mut safe = if trimmed.is_empty() { NAMELESS.to_owned() } else { trimmed.to_owned() };
    if is_reserved(&safe) {
        safe.insert(0, INSTEAD);
    }
    if safe.len() <= LONGEST {
        return safe;
    }
    // The ending says what it is.
    let ending = safe.rfind('.').filter(|at| *at > 0 && safe.len() - at <= ENDING).map_or("", |at| &safe[at..]);
    let stem = cut(&safe[..safe.len() - ending.len()], LONGEST - ending.len()).trim_end_matches(is_edge);
    format!("{stem}{ending}")
}

fn may_stand(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    // Two of Unicode's end a line for those who read it so.
    let ends = matches!(c, '\u{2028}' | '\u{2029}');
    !c.is_control() && !turns && !ends && !matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
}

fn is_edge(c: char) -> bool {
    c == '.' || c.is_whitespace()
}

fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(is_edge).to_ascii_lowercase();
    let numbered = |word: &str| {
        let rest = stem.strip_prefix(word).unwrap_or_default();
        let mut digits = rest.chars();
        matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    };
    RESERVED.contains(&stem.as_str()) || numbered("com") || numbered("lpt")
}

/// As much of the beginning as has so many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_folder_and_is_one_everywhere() {
        for (name, safe) in [
            ("report.pdf", "report.pdf"),
            ("naïve 手机.txt", "naïve 手机.txt"),
            ("", "file"),
            (".", "file"),
            ("..", "file"),
            (" . . ", "file"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("/etc/passwd", "_etc_passwd"),
            ("..\\..\\boot.ini", "_.._boot.ini"),
            ("C:\\x", "C__x"),
            ("a\0b\n\x1b[2Jc", "a_b__[2Jc"),
            ("a\u{202e}gpj.exe", "a_gpj.exe"),
            ("a\u{2028}b", "a_b"),
            (".bashrc", "bashrc"),
            ("trailing. ", "trailing"),
            ("\u{a0}name\u{3000}", "name"),
            ("con", "_con"),
            ("CON.txt", "_CON.txt"),
            ("nul .tar.gz", "_nul .tar.gz"),
            ("Com1", "_Com1"),
            ("LPT³.x", "_LPT³.x"),
            ("com10", "com10"),
            ("console", "console"),
            ("~", "~"),
            ("-rf", "-rf"),
            ("a*?\"<>|b", "a______b"),
        ] {
            assert_eq!(safe_file_name(name), safe, "{name:?}");
        }
    }

    #[test]
    fn a_long_name_is_cut_and_keeps_its_ending() {
        let long = safe_file_name(&format!("{}.tar", "ü".repeat(300)));
        assert!(long.len() <= LONGEST && long.len() > LONGEST - 4 && long.ends_with("ü.tar"), "{long}");
        assert_eq!(safe_file_name(&"x".repeat(300)).len(), LONGEST);
        assert_eq!(safe_file_name(&format!("a.{}", "y".repeat(300))).len(), LONGEST);
        let spaced = safe_file_name(&format!("{} {}.txt", "z".repeat(250), "z".repeat(40)));
        assert_eq!(spaced, format!("{}.txt", "z".repeat(250)), "no space before the ending");
        for length in 0..600 {
            let safe = safe_file_name(&"手.".repeat(length));
            assert!((1..=LONGEST).contains(&safe.len()) && !safe.ends_with('.'), "{safe}");
        }
    }
}

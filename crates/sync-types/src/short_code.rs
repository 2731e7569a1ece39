//! Short codes: what a person reads out and types to pair two devices that have one relay in common.
//!
//! A code is `7-word-word-word`: the relay's number of the rendezvous, its *nameplate*, and three words of the English
//! list of BIP39. The words are 33 random bits and never leave the two devices; the relay knows the nameplate alone.

use std::fmt;
use std::str::FromStr;

use bip39::Language;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::link::{Link, LinkError};
use crate::{Code, limits};

/// How many words a code has.
pub const WORDS: usize = 3;

/// How many random bits the words hold.
pub const SECRET_BITS: u32 = WORD_BITS * WORDS as u32;

/// A word is one of 2048.
const WORD_BITS: u32 = 11;

/// How many letters tell each word of the list from every other.
const TELLING: usize = 4;

/// The longest text that is looked at, in bytes: twice the longest code.
const TEXT_BYTES: usize = 80;

/// A short code. Its words are erased when it is dropped, and never printed.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct ShortCode {
    #[zeroize(skip)]
    nameplate: u32,
    /// Which words of the list.
    words: [u16; WORDS],
}

/// Why a text is no short code. None of these has been told to anybody: the code is as good as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShortCodeError {
    /// It does not begin with a number that a relay gives.
    #[error("a code begins with the number that the other device shows")]
    Nameplate,
    /// There are not three words behind the number.
    #[error("a code has a number and three words, as in 7-word-word-word")]
    Words,
    /// The word at this place, from 1 to 3, is none of the list.
    #[error("word {0} of the code is not a word that codes are made of")]
    UnknownWord(usize),
}

impl ShortCodeError {
    /// The code that a user sees.
    pub const fn code(self) -> Code {
        Code::CodeInvalid
    }
}

impl ShortCode {
    /// The code of a nameplate and the lowest [`SECRET_BITS`] bits of `secret`, which come from a cryptographic
    /// generator.
    ///
    /// # Errors
    /// [`ShortCodeError::Nameplate`] if the nameplate is none, see [`limits::NAMEPLATE`].
    pub fn new(nameplate: u32, secret: u64) -> Result<Self, ShortCodeError> {
        if nameplate == 0 || nameplate > limits::NAMEPLATE {
            return Err(ShortCodeError::Nameplate);
        }
        let word = |at: u32| (secret >> (WORD_BITS * at) & 0x7ff) as u16;
        Ok(Self { nameplate, words: [word(2), word(1), word(0)] })
    }

    /// The relay's number of the rendezvous.
    pub const fn nameplate(&self) -> u32 {
        self.nameplate
    }

    /// The code as a person reads it, in its one canonical form. Whoever has it may pair, so it is shown to the person
    /// and goes into no log.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(TEXT_BYTES));
        text.push_str(&self.nameplate.to_string());
        for word in self.words {
            text.push('-');
            text.push_str(Language::English.word_list()[usize::from(word) & 0x7ff]);
        }
        text
    }
}

/// Reads what a person types: in either case, with hyphens, spaces, commas or points between the parts, and each word
/// whole or cut short behind its fourth letter, which already tells it from every other.
impl FromStr for ShortCode {
    type Err = ShortCodeError;

    fn from_str(text: &str) -> Result<Self, ShortCodeError> {
        if text.trim().len() > TEXT_BYTES {
            return Err(ShortCodeError::Words);
        }
        let text = Zeroizing::new(text.to_lowercase());
        let mut parts = text.split(is_between).filter(|part| !part.is_empty());
        let digits = parts.next().filter(|part| part.bytes().all(|c| c.is_ascii_digit()));
        let nameplate = digits.and_then(|digits| digits.parse().ok()).ok_or(ShortCodeError::Nameplate)?;
        let mut code = Self::new(nameplate, 0)?;
        let mut count = 0;
        for part in parts {
            let place = code.words.get_mut(count).ok_or(ShortCodeError::Words)?;
            count += 1;
            *place = word(part).ok_or(ShortCodeError::UnknownWord(count))?;
        }
        if count == WORDS { Ok(code) } else { Err(ShortCodeError::Words) }
    }
}

/// Whether a character stands between the parts of a code. A phone makes other dashes out of hyphens.
fn is_between(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '_' | ',' | '.' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// The place in BIP39's English list of a word in lower case, or of the one that begins so.
pub fn word(typed: &str) -> Option<u16> {
    let list = Language::English.word_list();
    // The list is in order, so the first that is not less is the word itself or the first that begins so.
    let at = list.partition_point(|word| *word < typed);
    let found = list.get(at)?;
    let begins = typed.len() >= TELLING && found.starts_with(typed);
    (*found == typed || begins).then(|| u16::try_from(at).ok()).flatten()
}

impl fmt::Debug for ShortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShortCode({}-…)", self.nameplate)
    }
}

/// What one device shows and the other takes, whichever of the two it is.
#[derive(Clone, Debug)]
pub enum Invitation {
    /// A link, out of a QR code or pasted.
    Link(Box<Link>),
    /// A short code.
    Code(ShortCode),
}

/// Why a text is no invitation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// It is no link that can be used here.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It begins with a digit as a short code does, and is none.
    #[error(transparent)]
    Code(#[from] ShortCodeError),
}

impl InvitationError {
    /// The code that a user sees.
    pub const fn code(&self) -> Code {
        match self {
            Self::Link(error) => error.code(),
            Self::Code(error) => error.code(),
        }
    }
}

/// What begins with a digit is read as a code, everything else as a link.
impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        if text.trim_start().starts_with(|c: char| c.is_ascii_digit()) {
            Ok(Self::Code(text.parse()?))
        } else {
            Ok(Self::Link(Box::new(text.parse()?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, ShortCodeError> {
        text.parse::<ShortCode>().map(|code| code.to_text().to_string())
    }

    #[test]
    fn codes_read_back() {
        for (nameplate, secret) in [(1, 0), (7, 0x1_2345_6789), (999_999, u64::MAX)] {
            let code = ShortCode::new(nameplate, secret).unwrap();
            assert_eq!(code.to_text().parse(), Ok(code.clone()));
            assert_eq!(code.nameplate(), nameplate);
        }
        assert_eq!(*ShortCode::new(7, 0).unwrap().to_text(), "7-abandon-abandon-abandon");
        assert_eq!(*ShortCode::new(7, (1 << 33) - 1).unwrap().to_text(), "7-zoo-zoo-zoo");
        assert_eq!(*ShortCode::new(7, 1 << 22 | 2 << 11 | 3).unwrap().to_text(), "7-ability-able-about");
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        for typed in [
            "7-ability-able-about",
            "  7 Ability  ABLE about\n",
            "7, ability, able, about.",
            "7-abil-able-abou",
            "7–ability—able‑about",
            "007-ability-able-about",
        ] {
            assert_eq!(read(typed).as_deref(), Ok("7-ability-able-about"), "{typed}");
        }
        // A short word is itself, though longer ones begin with it.
        assert_eq!(read("7-act-add-car").as_deref(), Ok("7-act-add-car"));
    }

    #[test]
    fn a_typo_is_found_here() {
        for (typed, error) in [
            ("7-abilty-able-about", ShortCodeError::UnknownWord(1)),
            ("7-ability-abl-about", ShortCodeError::UnknownWord(2)),
            ("7-ability-able-aboutt", ShortCodeError::UnknownWord(3)),
            ("7-ability-able-zzzz", ShortCodeError::UnknownWord(3)),
            ("7-ability-able", ShortCodeError::Words),
            ("7", ShortCodeError::Words),
            ("7-ability-able-about-zoo", ShortCodeError::Words),
            ("ability-able-about", ShortCodeError::Nameplate),
            ("0-ability-able-about", ShortCodeError::Nameplate),
            ("1000000-ability-able-about", ShortCodeError::Nameplate),
            ("99999999999-ability-able-about", ShortCodeError::Nameplate),
            ("-7-ability-able-abóut", ShortCodeError::UnknownWord(3)),
            ("", ShortCodeError::Nameplate),
            (&"7-".repeat(100), ShortCodeError::Words),
        ] {
            assert_eq!(read(typed), Err(error), "{typed}");
            assert_eq!(error.code(), Code::CodeInvalid);
        }
    }

    #[test]
    fn every_word_is_told_by_its_first_letters() {
        let list = Language::English.word_list();
        assert!(list.is_sorted());
        for (at, whole) in list.iter().enumerate() {
            assert_eq!(word(whole).map(usize::from), Some(at));
            assert_eq!(word(&whole[..whole.len().min(TELLING)]).map(usize::from), Some(at), "{whole}");
        }
    }

    #[test]
    fn invitations_are_links_or_codes() {
        assert!(matches!("7-zoo-zoo-zoo".parse(), Ok(Invitation::Code(_))));
        let code = |text: &str| text.parse::<Invitation>().map(drop).unwrap_err().code();
        assert_eq!(code("7-zoo"), Code::CodeInvalid);
        assert_eq!(code("KSYNC:AAAA"), Code::LinkInvalid);
        assert_eq!(code("zoo"), Code::LinkInvalid);
    }

    #[test]
    fn debug_shows_no_word() {
        let code = ShortCode::new(7, 0).unwrap();
        let text = format!("{code:?} {:?}", Invitation::Code(code.clone()));
        assert!(text.contains("7-") && !text.contains("abandon") && !text.contains("words"), "{text}");
    }
}

//! One encoding for each value: the wrapper around `mls-rs-codec` that all formats go through.

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

/// Why bytes are not the value they were taken for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end early, hold an unknown tag, or a length in a longer form than needed.
    #[error("the bytes are not a valid {what}: {reason}")]
    Malformed {
        /// The Rust name of the format that was expected.
        what: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// Bytes are left behind the value.
    #[error("{count} bytes are left over behind a {what}")]
    Trailing {
        /// The Rust name of the format that was expected.
        what: &'static str,
        /// How many bytes are left.
        count: usize,
    },
    /// The value has another, canonical encoding.
    #[error("the bytes are not the canonical form of a {what}")]
    NotCanonical {
        /// The Rust name of the format that was expected.
        what: &'static str,
    },
    /// A field lies beyond its limit.
    #[error("{0}")]
    Limit(&'static str),
}

/// Encodes a value.
///
/// # Panics
/// If a vector is 2³⁰ bytes or longer; every format here is bounded far below by [`crate::limits`].
pub fn encode<T: MlsEncode>(value: &T) -> Vec<u8> {
    value.mls_encode_to_vec().expect("formats are bounded far below the 2^30 bytes at which encoding fails")
}

/// Decodes a value from all of `bytes`; refuses trailing bytes and every form but the canonical one.
pub fn decode<T: MlsDecode + MlsEncode + MlsSize>(bytes: &[u8]) -> Result<T, DecodeError> {
    let what = short_name::<T>();
    let mut rest = bytes;
    let value = T::mls_decode(&mut rest).map_err(|e| DecodeError::Malformed { what, reason: e.to_string() })?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing { what, count: rest.len() });
    }
    // mls-rs-codec reads any non-zero byte as `true` and skips no check that would catch it; comparing with the
    // encoding closes that and whatever is like it.
    if encode(&value) != bytes {
        return Err(DecodeError::NotCanonical { what });
    }
    Ok(value)
}

/// Makes a module for `mls_codec(with = "…")` that reads a list of so many items and no more. An empty item can be one byte on
/// the wire and a hundred in memory, so lists of such items are counted while they are read and not afterwards.
macro_rules! counted {
    ($name:ident, $item:ty, $most:expr) => {
        mod $name {
            use mls_rs_codec::{Error, MlsDecode, MlsEncode, MlsSize, iter};

            #[allow(unused_imports, reason = "the item and the limit are named where the list is")]
            use super::*;

            #[allow(clippy::ptr_arg, reason = "the derive hands over the field")]
            pub(super) fn mls_encoded_len(list: &Vec<$item>) -> usize {
                list.mls_encoded_len()
            }

            #[allow(clippy::ptr_arg, reason = "the derive hands over the field")]
            pub(super) fn mls_encode(list: &Vec<$item>, out: &mut Vec<u8>) -> Result<(), Error> {
                list.mls_encode(out)
            }

            pub(super) fn mls_decode(from: &mut &[u8]) -> Result<Vec<$item>, Error> {
                iter::mls_decode_collection(from, |bytes| {
                    let mut list = Vec::new();
                    while !bytes.is_empty() {
                        if list.len() >= $most && crate::codec::counts() {
                            return Err(Error::InvalidContent);
                        }
                        list.push(<$item>::mls_decode(bytes)?);
                    }
                    Ok(list)
                })
            }
        }
    };
}
pub(crate) use counted;

/// Whether lists are counted: always, outside of the attack tests.
#[cfg(not(feature = "controls"))]
#[inline(always)]
pub(crate) const fn counts() -> bool {
    true
}

#[cfg(feature = "controls")]
pub(crate) use uncounted::counts;
#[cfg(feature = "controls")]
pub use uncounted::set_counting;

#[cfg(feature = "controls")]
mod uncounted {
    use std::cell::Cell;

    thread_local! {
        static COUNTS: Cell<bool> = const { Cell::new(true) };
    }

    /// Whether lists are counted on this thread.
    pub(crate) fn counts() -> bool {
        COUNTS.get()
    }

    /// Switches counting off, or on again, on this thread. Gives what it was.
    pub fn set_counting(on: bool) -> bool {
        COUNTS.replace(on)
    }
}

fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

/// Bytes whose meaning lies elsewhere, as a length-prefixed vector on the wire.
#[derive(Clone, Default, PartialEq, Eq, Hash, MlsSize, MlsEncode, MlsDecode)]
pub struct Opaque(#[mls_codec(with = "mls_rs_codec::byte_vec")] pub Vec<u8>);

impl std::fmt::Debug for Opaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl From<Vec<u8>> for Opaque {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl std::ops::Deref for Opaque {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_short_and_overlong_bytes_are_refused() {
        let good = encode(&Opaque(vec![1, 2, 3]));
        assert_eq!(decode::<Opaque>(&good).unwrap().0, [1, 2, 3]);
        let mut long = good.clone();
        long.push(0);
        assert!(matches!(decode::<Opaque>(&long), Err(DecodeError::Trailing { count: 1, .. })));
        assert!(matches!(decode::<Opaque>(&good[..3]), Err(DecodeError::Malformed { .. })));
        // The length 3 in two bytes instead of one.
        assert!(matches!(decode::<Opaque>(&[0x40, 3, 1, 2, 3]), Err(DecodeError::Malformed { .. })));
    }

    #[test]
    fn a_second_encoding_of_the_same_value_is_refused() {
        assert_eq!(decode::<bool>(&[1]), Ok(true));
        assert!(matches!(decode::<bool>(&[2]), Err(DecodeError::NotCanonical { .. })));
    }
}

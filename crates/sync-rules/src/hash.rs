//! Hashes with a label, so that a hash made for one purpose never stands for another.

use aws_lc_rs::digest::{Context, SHA256};
use mls_rs_codec::{MlsEncode, VarInt};
use sync_types::{DeviceId, LABEL_PREFIX};

/// SHA-256 over the label, with [`LABEL_PREFIX`] in front, and the content, each behind its length (the shape of
/// RFC 9420 §5.1.2).
///
/// # Panics
/// If the content is 2³⁰ bytes or longer.
pub fn labelled(label: &str, content: &[u8]) -> [u8; 32] {
    let mut hasher = LabelledHasher::new(label, content.len());
    hasher.update(content);
    hasher.finish()
}

/// The id of the device with this Ed25519 public key: the first 16 bytes of its hash under the label `device id`.
pub fn device_id(public_key: &[u8; 32]) -> DeviceId {
    let hash = labelled("device id", public_key);
    DeviceId::from_slice(&hash[..DeviceId::LEN]).expect("a hash is longer than an id")
}

/// [`labelled`] for content that comes in parts.
#[derive(Clone)]
pub struct LabelledHasher {
    inner: Context,
    missing: usize,
}

impl LabelledHasher {
    /// Starts a hash over content of exactly `len` bytes: the length stands in front of the content.
    ///
    /// # Panics
    /// If `len` is 2³⁰ or more.
    pub fn new(label: &str, len: usize) -> Self {
        let mut inner = Context::new(&SHA256);
        inner.update(&length(LABEL_PREFIX.len() + label.len()));
        inner.update(LABEL_PREFIX.as_bytes());
        inner.update(label.as_bytes());
        inner.update(&length(len));
        Self { inner, missing: len }
    }

    /// Adds the next part of the content.
    ///
    /// # Panics
    /// If the parts are longer than what was announced.
    pub fn update(&mut self, part: &[u8]) {
        self.missing = self.missing.checked_sub(part.len()).expect("no more content than was announced");
        self.inner.update(part);
    }

    /// The hash.
    ///
    /// # Panics
    /// If the parts are shorter than what was announced.
    pub fn finish(self) -> [u8; 32] {
        assert_eq!(self.missing, 0, "as much content as was announced");
        self.inner.finish().as_ref().try_into().expect("SHA-256 gives 32 bytes")
    }
}

/// A vector's length as it stands in front of the vector.
pub(crate) fn length(len: usize) -> Vec<u8> {
    VarInt::try_from(len).and_then(|len| len.mls_encode_to_vec()).expect("content is bounded far below 2^30 bytes")
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::digest;
    use sync_types::Opaque;

    use super::*;

    #[test]
    fn the_shape_is_two_length_prefixed_vectors() {
        for len in [0, 1, 63, 64, 16_383, 16_384, 100_000] {
            let content = vec![7; len];
            let mut bytes = sync_types::encode(&Opaque(b"0ksync/1 test".to_vec()));
            bytes.extend(sync_types::encode(&Opaque(content.clone())));
            assert_eq!(labelled("test", &content), digest(&SHA256, &bytes).as_ref());
        }
    }

    #[test]
    fn parts_hash_as_the_whole_and_the_label_counts() {
        let mut hasher = LabelledHasher::new("test", 5);
        hasher.update(b"he");
        hasher.update(b"llo");
        assert_eq!(hasher.finish(), labelled("test", b"hello"));
        assert_ne!(labelled("test", b"hello"), labelled("tes", b"thello"));
    }

    #[test]
    #[should_panic(expected = "as much content as was announced")]
    fn a_shorter_content_than_announced_has_no_hash() {
        LabelledHasher::new("test", 5).finish();
    }
}

//! How many nodes a ratchet tree has, told without making them.

use mls_rs_codec::iter::mls_decode_split_on_collection as split;
use mls_rs_codec::{Error, MlsDecode};
use sync_types::limits;

/// How many nodes a tree may have. One of 128 leaves has 255.
pub(crate) const NODES: usize = 4 * limits::MEMBERS;

/// Whether the bytes of a `ratchet_tree` extension (RFC 9420 §12.4.3.3) hold few enough nodes. A blank one is a byte on the wire
/// and hundreds in memory, and mls-rs makes all of them before it looks at any.
pub(crate) fn is_bounded(extension: &[u8]) -> bool {
    count(extension).is_ok_and(|count| count <= NODES)
}

fn count(extension: &[u8]) -> Result<usize, Error> {
    let mut outer = extension;
    let mut nodes = take(&mut outer)?;
    let mut count = 0;
    while !nodes.is_empty() && count <= NODES {
        if u8::mls_decode(&mut nodes)? == 1 {
            match u8::mls_decode(&mut nodes)? {
                1 => leaf(&mut nodes)?,
                // Public key, parent hash, unmerged leaves.
                2 => (0..3).try_for_each(|_| take(&mut nodes).map(drop))?,
                _ => return Err(Error::InvalidContent),
            }
        }
        count += 1;
    }
    Ok(count)
}

/// Passes over a LeafNode (RFC 9420 §7.2).
fn leaf(from: &mut &[u8]) -> Result<(), Error> {
    // Encryption key, signature key.
    take(from)?;
    take(from)?;
    // The credential: its kind, and its identity or certificates.
    u16::mls_decode(from)?;
    take(from)?;
    // Capabilities: versions, suites, extensions, proposals, credentials.
    (0..5).try_for_each(|_| take(from).map(drop))?;
    match u8::mls_decode(from)? {
        // From a key package, with its lifetime.
        1 => {
            u64::mls_decode(from)?;
            u64::mls_decode(from)?;
        }
        2 => {}
        // By a commit, with its parent hash.
        3 => drop(take(from)?),
        _ => return Err(Error::InvalidContent),
    }
    // Extensions, signature.
    take(from)?;
    take(from)?;
    Ok(())
}

/// What stands behind its length.
fn take<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], Error> {
    let (taken, rest) = split(from)?;
    *from = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use sync_types::{Opaque, encode};

    use super::*;

    #[test]
    fn blank_nodes_are_counted() {
        let tree = |nodes: &[u8]| encode(&Opaque(nodes.to_vec()));
        assert!(is_bounded(&tree(&[0; NODES])));
        assert!(!is_bounded(&tree(&[0; NODES + 1])));
        assert!(!is_bounded(&tree(&[1, 2, 0, 0, 0].repeat(NODES + 1))), "parents");
        let leaf = [1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0];
        assert_eq!(count(&tree(&leaf.repeat(3))).ok(), Some(3));
        assert!(!is_bounded(&tree(&leaf.repeat(NODES + 1))), "leaves");
        assert!(!is_bounded(&tree(&[1, 9])), "no node");
        assert!(!is_bounded(&[5, 0]), "cut off");
    }
}

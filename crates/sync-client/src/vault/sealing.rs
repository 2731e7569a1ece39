//! Sealing values of the database, with a nonce from the system for each.

use std::sync::{Arc, Mutex};

use sync_core::vault::{Cell, Nonce, Sealer, VaultKey};
use sync_types::Code;

use crate::SyncError;
use crate::clock::random;

/// How many nonces are drawn at once: asking the system for each would cost more than sealing a small blob.
const NONCES: usize = 128;
const NONCE: usize = 24;

/// What seals and opens the values of a home. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Sealing {
    sealer: Sealer,
    nonces: Arc<Mutex<Nonces>>,
}

/// Random bytes that are used once each.
struct Nonces {
    bytes: [u8; NONCES * NONCE],
    used: usize,
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces(…)")
    }
}

impl Sealing {
    pub(crate) fn new(key: &VaultKey) -> Self {
        let nonces = Nonces { bytes: [0; NONCES * NONCE], used: NONCES * NONCE };
        Self { sealer: Sealer::new(key), nonces: Arc::new(Mutex::new(nonces)) }
    }

    /// Seals a value for its place.
    pub(crate) fn seal(&self, place: Cell<'_>, plain: &[u8]) -> Vec<u8> {
        self.sealer.seal(place, plain, self.nonce())
    }

    /// Opens what was sealed for this place.
    pub(crate) fn open(&self, place: Cell<'_>, sealed: &[u8]) -> Result<Vec<u8>, SyncError> {
        self.sealer.open(place, sealed).map_err(|error| SyncError::new(Code::StoreCorrupt, error.to_string()))
    }

    fn nonce(&self) -> Nonce {
        let mut nonces = self.nonces.lock().expect("nobody panics while drawing");
        if nonces.used + NONCE > nonces.bytes.len() {
            nonces.bytes = random();
            nonces.used = 0;
        }
        let at = nonces.used;
        nonces.used += NONCE;
        *nonces.bytes[at..].first_chunk().expect("what is left is a nonce at least")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_nonce_comes_twice() {
        let sealing = Sealing::new(&VaultKey::new([1; 32]));
        let again = sealing.clone();
        let nonces: BTreeSet<Nonce> = (0..1000).map(|n| if n % 2 == 0 { &sealing } else { &again }.nonce()).collect();
        assert_eq!(nonces.len(), 1000);
        let sealed = sealing.seal(Cell::TransportKey, b"it");
        assert_eq!(sealed.len(), 2 + sync_core::vault::CELL_OVERHEAD);
        assert_eq!(again.open(Cell::TransportKey, &sealed).unwrap(), b"it");
        assert_eq!(again.open(Cell::Meta("x"), &sealed).unwrap_err().code, Code::StoreCorrupt);
    }
}

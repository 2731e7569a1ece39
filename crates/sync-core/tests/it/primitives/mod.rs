//! Every primitive in use against public vectors.
//!
//! X25519, ML-KEM-768, ChaCha20-Poly1305 and SHA-256 run through `sync_core::pairing::primitives`, which pairing itself
//! calls. XChaCha20-Poly1305, HKDF and Ed25519 have no function of their own there, since envelopes and signatures add
//! labels to them: for these the tests make the calls that `seal.rs` and sync-rules' `sign.rs` make.

mod approved;
mod known_answers;
mod wycheproof;

#[test]
fn what_holds_a_key_erases_it_when_it_is_dropped() {
    fn erased<T: zeroize::ZeroizeOnDrop>() {}
    erased::<chacha20poly1305::XChaCha20Poly1305>();
    // HMAC and HKDF are made of it.
    erased::<sha2::Sha256>();
}

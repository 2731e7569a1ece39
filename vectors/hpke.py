"""HPKE (RFC 9180) in mode base, with the KEMs of protocol.md, section 5."""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import mlkem768
from parts import Reader, agree, bare, hkdf_expand, p256

CLASSICAL = {False: b"KEM\x00\x20", True: b"KEM\x00\x10"}


def extract(salt, suite, label, material):
    """LabeledExtract of RFC 9180, section 4."""
    return hmac.new(salt or bytes(32), b"HPKE-v1" + suite + label + material, hashlib.sha256).digest()


def expand(prk, suite, label, info, length):
    """LabeledExpand of the same."""
    return hkdf_expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def kem_derive(ikm, is_fips):
    """RFC 9180, section 4 and 7.1.3, and the tables of protocol.md, section 5: a seed of ML-KEM and a classical key."""
    seed = hashlib.shake_128(extract(b"", b"KEM\x00\x0f", b"dkp_prk", ikm)).digest(96)
    # P-256: the first candidate that is below the order; here that is always the first.
    label, info = (b"candidate", b"\0") if is_fips else (b"sk", b"")
    scalar = expand(seed[64:], CLASSICAL[is_fips], label, info, 32)
    return seed[:64], p256(scalar) if is_fips else X25519PrivateKey.from_private_bytes(scalar)


def kem_public(seed, classical):
    return mlkem768.public_key(seed) + bare(classical)


def open(keys, is_fips, info, aad, sealed):
    """Opens what was sealed to this key pair."""
    (seed, classical), reader = keys, Reader(sealed)
    encapsulated, ciphertext = reader.vector(), reader.vector()
    reader.end()
    ephemeral, own = encapsulated[1088:], bare(classical)
    # DHKEM, section 4.1.
    suite = CLASSICAL[is_fips]
    prk = extract(b"", suite, b"eae_prk", agree(classical, ephemeral))
    ss_x = expand(prk, suite, b"shared_secret", ephemeral + own, 32)
    ss_m = mlkem768.decapsulate(encapsulated[:1088], seed)
    shared = hashlib.sha3_256(bytes.fromhex("5c2e2f0a2f5e5c") + ss_m + ss_x + ephemeral + own).digest()
    # The key schedule, section 5.1.
    suite, length = b"HPKE\x00\x0f\x00\x01\x00" + bytes([1 + is_fips]), 32 if is_fips else 16
    context = b"\0" + extract(b"", suite, b"psk_id_hash", b"") + extract(b"", suite, b"info_hash", info)
    secret = extract(shared, suite, b"secret", b"")
    key, base = expand(secret, suite, b"key", context, length), expand(secret, suite, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(base, ciphertext, aad)

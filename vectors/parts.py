"""What check.py checks with: the encoding, hashes and signatures, and the handshake of a pairing."""

import hashlib
import hmac
import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import mlkem768

PREFIX = "0ksync/1 "


# --- the encoding: RFC 9420 section 2.1 ---------------------------------------------------------------------------------


def varint(n):
    for prefix, size in ((0, 1), (1, 2), (2, 4)):
        if n < 1 << (8 * size - 2):
            return (n | prefix << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError("too long")


def vector(data):
    return varint(len(data)) + data


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise ValueError("it ends early")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def varint(self):
        first = self.number(1)
        size = 1 << (first >> 6)
        if size == 8:
            raise ValueError("no such length")
        n = int.from_bytes(bytes([first & 63]) + self.take(size - 1), "big")
        if len(varint(n)) != size:
            raise ValueError("a length in a longer form than needed")
        return n

    def vector(self):
        return self.take(self.varint())

    def rest(self):
        return self.take(len(self.data) - self.at)

    def end(self):
        if self.at != len(self.data):
            raise ValueError("bytes are left over")


def each(data, read):
    reader, out = Reader(data), []
    while reader.at < len(data):
        out.append(read(reader))
    return out


# --- hashes, signatures, keys -------------------------------------------------------------------------------------------


def under_label(label, content):
    return vector((PREFIX + label).encode()) + vector(content)


def labelled(label, content):
    return hashlib.sha256(under_label(label, content)).digest()


def signed(public, label, content, signature):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, under_label(label, content))
        return True
    except InvalidSignature:
        return False


def hkdf_expand(prk, info, length):
    out, block, i = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([i]), hashlib.sha256).digest()
        out, i = out + block, i + 1
    return out[:length]


def hchacha20(key, nonce):
    """draft-irtf-cfrg-xchacha-03, section 2.2."""
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter(a, b, c, d):
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            mixed = state[z] ^ state[x]
            state[z] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<8I", *state[:4], *state[12:])


def xchacha_open(key, nonce, aad, sealed):
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).decrypt(bytes(4) + nonce[16:], sealed, aad)


def xchacha_seal(key, nonce, plain):
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], plain, None)


def hkdf(chaining_key, material, count):
    """HKDF of Noise, rev. 34, section 4.3."""
    temporary = hmac.new(chaining_key, material, hashlib.sha256).digest()
    out = hkdf_expand(temporary, b"", 32 * count)
    return [out[32 * i : 32 * i + 32] for i in range(count)]


def nonce(cipher, n):
    """Noise, rev. 34, sections 12.3 and 12.4."""
    return bytes(4) + n.to_bytes(8, "little" if cipher is ChaCha20Poly1305 else "big")


class Noise:
    """The symmetric state of Noise, rev. 34, section 5.2."""

    def __init__(self, name, prologue):
        self.cipher = {"ChaChaPoly": ChaCha20Poly1305, "AESGCM": AESGCM}[name.split("_")[3]]
        self.h = self.ck = hashlib.sha256(name.encode()).digest()
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_key(self, material):
        self.ck, self.key = hkdf(self.ck, material, 2)
        self.n = 0

    def mix_key_and_hash(self, material):
        self.ck, hashed, self.key = hkdf(self.ck, material, 3)
        self.mix_hash(hashed)
        self.n = 0

    def seal(self, plain):
        sealed = self.cipher(self.key).encrypt(nonce(self.cipher, self.n), plain, self.h)
        self.n += 1
        self.mix_hash(sealed)
        return sealed

    def peek(self, sealed):
        """What the next message of the peer holds; the state stays as it is."""
        return self.cipher(self.key).decrypt(nonce(self.cipher, self.n), sealed, self.h)


class Party:
    """The keys that a side of a pairing draws."""

    def __init__(self, drawn):
        reader = Reader(drawn)
        self.static, static_seed = X25519PrivateKey.from_private_bytes(reader.take(32)), reader.take(64)
        self.ephemeral, ephemeral_seed = X25519PrivateKey.from_private_bytes(reader.take(32)), reader.take(64)
        self.encapsulations = [reader.take(32), reader.take(32)]
        reader.end()
        self.static_kem, self.ephemeral_kem = map(mlkem768.public_key, (static_seed, ephemeral_seed))

    def encapsulate(self, key, seed, ciphertext):
        return mlkem768.encapsulate(key, self.encapsulations.pop(0))


class ApprovedParty(Party):
    """The same in suite 2. What it drew to encapsulate nobody saw: so the ciphertexts are the recorded ones, and are opened."""

    def __init__(self, drawn):
        reader = Reader(drawn)
        self.static, self.static_seed = p256(reader.take(32)), reader.take(64)
        self.ephemeral, self.ephemeral_seed = p256(reader.take(32)), reader.take(64)
        reader.take(64)
        reader.end()
        self.static_kem, self.ephemeral_kem = map(mlkem768.public_key, (self.static_seed, self.ephemeral_seed))

    def encapsulate(self, key, seed, ciphertext):
        return ciphertext, mlkem768.decapsulate(ciphertext, seed)


def p256(secret):
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())


def bare(key):
    if isinstance(key, X25519PrivateKey):
        return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def agree(key, public):
    if isinstance(key, X25519PrivateKey):
        return key.exchange(X25519PublicKey.from_public_bytes(public))
    return key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public))


def handshake(noise, psk, i, r, recorded=None):
    """hybridXXpsk0: the four messages of initiator and responder. Both sides' keys are known, so one state is enough.
    Recorded are the messages whose ciphertexts have to be opened, where nobody knows what they were made with.
    """

    def e(party):
        for key in (bare(party.ephemeral), party.ephemeral_kem):
            noise.mix_hash(key)
            noise.mix_key(key)
        return bare(party.ephemeral) + party.ephemeral_kem

    def s(party):
        return noise.seal(bare(party.static)) + noise.seal(party.static_kem)

    def skem(by, to, message):
        theirs = noise.peek(recorded[message][:1104]) if recorded else None
        ciphertext, shared = by.encapsulate(to.static_kem, recorded and to.static_seed, theirs)
        sealed = noise.seal(ciphertext)
        noise.mix_key_and_hash(shared)
        return sealed

    noise.mix_key_and_hash(psk)
    yield e(i) + noise.seal(b"")
    theirs = recorded[1][:1088] if recorded else None
    ekem, shared = r.encapsulate(i.ephemeral_kem, recorded and i.ephemeral_seed, theirs)
    noise.mix_hash(ekem)
    noise.mix_key(shared)
    message = ekem + e(r)
    noise.mix_key(agree(r.ephemeral, bare(i.ephemeral)))
    message += s(r)
    noise.mix_key(agree(r.static, bare(i.ephemeral)))
    yield message + noise.seal(b"")
    message = skem(i, r, 2) + s(i)
    noise.mix_key(agree(i.static, bare(r.ephemeral)))
    yield message + noise.seal(b"")
    yield skem(r, i, 3) + noise.seal(b"")


def padme(n):
    if n <= 256:
        return 256
    exponent = n.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (n + mask) & ~mask

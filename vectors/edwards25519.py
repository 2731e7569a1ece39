"""The group of Ed25519 (RFC 8032 section 5.1) and SPAKE2 over it as the `spake2` packages of Python and Rust have it,
written from their specifications and slow: for check.py alone.
"""

import hashlib
import hmac

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)
ZERO = (0, 1)


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + k, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - k, -1, P)
    return x % P, y % P


def times(scalar, point):
    made = ZERO
    while scalar:
        if scalar & 1:
            made = add(made, point)
        point = add(point, point)
        scalar >>= 1
    return made


def negated(point):
    return -point[0] % P, point[1]


def encode(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def decode(data):
    """The point of an encoding; None if it is none, or not the canonical one."""
    whole = int.from_bytes(data, "little")
    y, sign = whole & (1 << 255) - 1, whole >> 255
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * ROOT_OF_MINUS_1 % P
    if x * x % P != square or (x == 0 and sign):
        return None
    return (P - x if x & 1 != sign else x), y


def is_sound(data):
    """Whether it is the encoding of a point in the group of prime order, and not of its zero."""
    point = decode(data)
    return point is not None and point != ZERO and times(Q, point) == ZERO


BASE = decode(bytes.fromhex("58" + "66" * 31))
M = decode(bytes.fromhex("15cfd18e385952982b6a8f8c7854963b58e34388c8e6dae891db756481a02312"))
N = decode(bytes.fromhex("f04f2e7eb734b2a8f8b472eaf9c3c632576ac64aea650b496a8a20ff00e583c3"))


def hkdf(secret, info, length):
    key, made, block = hmac.digest(bytes(32), secret, "sha256"), b"", b""
    while len(made) < length:
        block = hmac.digest(key, block + info + bytes([len(made) // 32 + 1]), "sha256")
        made += block
    return made[:length]


class Spake2:
    """One side: A blinds with M, and B with N."""

    def __init__(self, side, password, id_a, id_b, drawn):
        self.side, self.password, self.ids = side, password, (id_a, id_b)
        self.scalar = int.from_bytes(drawn, "little") % Q
        self.blind = int.from_bytes(hkdf(password, b"SPAKE2 pw", 48), "big") % Q
        own = M if side == "A" else N
        self.message = encode(add(times(self.scalar, BASE), times(self.blind, own)))

    def key(self, theirs):
        other = N if self.side == "A" else M
        shared = times(self.scalar, add(decode(theirs), times(self.blind, negated(other))))
        ordered = (self.message, theirs) if self.side == "A" else (theirs, self.message)
        hashed = [hashlib.sha256(part).digest() for part in (self.password, *self.ids)]
        return hashlib.sha256(b"".join([*hashed, *ordered, encode(shared)])).digest()

"""ML-KEM-768 (FIPS 203), slow and plain: only what checking the vectors takes, which is public keys from seeds,
encapsulation with given randomness, and opening of ciphertexts. Not for secrets.
"""

import hashlib

Q, N, K = 3329, 256, 3


def reversed_bits(i):
    return int(f"{i:07b}"[::-1], 2)


ZETAS = [pow(17, reversed_bits(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * reversed_bits(i) + 1, Q) for i in range(128)]


def ntt(f):
    f, i, length = list(f), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            for j in range(start, start + length):
                t = ZETAS[i] * f[j + length]
                f[j + length], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
            i += 1
        length //= 2
    return f


def ntt_inverse(f):
    f, i, length = list(f), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            for j in range(start, start + length):
                t = f[j]
                f[j], f[j + length] = (t + f[j + length]) % Q, ZETAS[i] * (f[j + length] - t) % Q
            i -= 1
        length *= 2
    return [x * 3303 % Q for x in f]


def times(a, b):
    out = []
    for i, gamma in enumerate(GAMMAS):
        a0, a1, b0, b1 = *a[2 * i : 2 * i + 2], *b[2 * i : 2 * i + 2]
        out += [(a0 * b0 + a1 * b1 * gamma) % Q, (a0 * b1 + a1 * b0) % Q]
    return out


def plus(*polynomials):
    return [sum(xs) % Q for xs in zip(*polynomials)]


def inner(a, b):
    return plus(*(times(x, y) for x, y in zip(a, b)))


def encode(f, d):
    return sum(x << d * i for i, x in enumerate(f)).to_bytes(32 * d, "little")


def decode(data, d):
    n = int.from_bytes(data, "little")
    return [n >> d * i & (1 << d) - 1 for i in range(N)]


def compress(f, d):
    return [((x << d) + Q // 2) // Q % (1 << d) for x in f]


def uniform(seed):
    stream = hashlib.shake_128(seed).digest(3 * 512)
    pairs = ((a | (b & 15) << 8, b >> 4 | c << 4) for a, b, c in zip(*[iter(stream)] * 3))
    return [x for pair in pairs for x in pair if x < Q][:N]


def small(seed, n):
    stream = int.from_bytes(hashlib.shake_256(seed + bytes([n])).digest(128), "little")
    bits = (stream >> i & 1 for i in range(4 * N))
    return [(a + b - c - d) % Q for a, b, c, d in zip(*[bits] * 4)]


def halves(data):
    digest = hashlib.sha3_512(data).digest()
    return digest[:32], digest[32:]


def matrix(rho):
    return [[uniform(rho + bytes([j, i])) for j in range(K)] for i in range(K)]


def public_key(seed):
    """The encapsulation key of the seed d, z (algorithm 16)."""
    rho, sigma = halves(seed[:32] + bytes([K]))
    s = [ntt(small(sigma, i)) for i in range(K)]
    e = [ntt(small(sigma, K + i)) for i in range(K)]
    t = [plus(inner(row, s), e[i]) for i, row in enumerate(matrix(rho))]
    return b"".join(encode(x, 12) for x in t) + rho


def decompress(f, d):
    return [(Q * x + (1 << d - 1)) >> d for x in f]


def decapsulate(ciphertext, seed):
    """The shared secret of a sound ciphertext for the seed d, z (algorithm 18); an altered one is an error here."""
    _, sigma = halves(seed[:32] + bytes([K]))
    s = [ntt(small(sigma, i)) for i in range(K)]
    u = [ntt(decompress(decode(ciphertext[320 * i : 320 * i + 320], 10), 10)) for i in range(K)]
    v = decompress(decode(ciphertext[320 * K :], 4), 4)
    w = [(a - b) % Q for a, b in zip(v, ntt_inverse(inner(s, u)))]
    again, shared = encapsulate(public_key(seed), encode(compress(w, 1), 1))
    if again != ciphertext:
        raise ValueError("the ciphertext is not for this key")
    return shared


def encapsulate(key, m):
    """Ciphertext and shared secret under the random bytes m (algorithm 17)."""
    shared, r = halves(m + hashlib.sha3_256(key).digest())
    t, rho = [decode(key[384 * i : 384 * i + 384], 12) for i in range(K)], key[384 * K :]
    y = [ntt(small(r, i)) for i in range(K)]
    u = [plus(ntt_inverse(inner(row, y)), small(r, K + i)) for i, row in enumerate(zip(*matrix(rho)))]
    message = [(Q + 1) // 2 * bit for bit in decode(m, 1)]
    v = plus(ntt_inverse(inner(t, y)), small(r, 2 * K), message)
    return b"".join(encode(compress(x, 10), 10) for x in u) + encode(compress(v, 4), 4), shared

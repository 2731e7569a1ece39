"""Checks the golden vectors in this folder with code of its own, so that two programs that share no line agree on every
byte. Needs Python 3.9 and the packages `cryptography` and `argon2-cffi`. Run: /usr/bin/python3 vectors/check.py
"""

import base64
import hashlib
import hmac
import json
import pathlib
import sys
import unicodedata
import zlib

import argon2.low_level
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import edwards25519
import hpke
from parts import (
    PREFIX,
    ApprovedParty,
    Noise,
    Party,
    Reader,
    bare,
    each,
    handshake,
    hkdf,
    hkdf_expand,
    labelled,
    nonce,
    padme,
    signed,
    under_label,
    vector,
    xchacha_open,
    xchacha_seal,
)

HERE = pathlib.Path(__file__).parent
# The list of https://github.com/bitcoin/bips/blob/master/bip-0039/english.txt, as a file.
BIP39_ENGLISH = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"


def load(name):
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


# --- formats ------------------------------------------------------------------------------------------------------------


def unpack(data):
    reader, out = Reader(data), []
    while reader.at < len(data):
        flags = reader.number(1)
        next_id = (int(out[-1]["id"], 16) + 1) % (1 << 128) if flags & 2 else None
        blob_id = f"{next_id:032x}" if flags & 2 else reader.take(16).hex()
        channel = out[-1]["channel"] if flags & 1 else reader.vector().decode()
        assert flags < 8 and (out or flags & 3 == 0)
        snapshot = flags & 4 != 0
        out.append({"id": blob_id, "channel": channel, "data": reader.vector().hex(), "snapshot": snapshot})
    return out


def unpad(padded):
    reader = Reader(padded)
    plain = reader.vector()
    size = reader.at
    if reader.rest().strip(b"\0") or padme(size) != len(padded):
        raise ValueError("the padding is wrong")
    return plain


def reached(reader):
    return reader.take(16), reader.number(8), reader.take(32)


def span(reader):
    return reader.take(16), reader.number(8), reader.number(8)


CHECKS = []


def head(reader):
    return reader.number(8), reader.take(32), reader.vector(), reader.take(32), reader.take(64)


def check(function):
    CHECKS.append(function)
    return function


@check
def hashes():
    data = load("hashes")
    for case in data["labelled"]:
        assert labelled(case["label"], bytes.fromhex(case["content"])).hex() == case["hash"]
    device = data["device_id"]
    assert labelled("device id", bytes.fromhex(device["public_key"]))[:16].hex() == device["device"]


@check
def packed_blobs_and_padding():
    data = load("bodies")
    assert unpack(bytes.fromhex(data["packed"]["bytes"])) == data["packed"]["blobs"]
    assert unpad(bytes.fromhex(data["padded"]["bytes"])).hex() == data["padded"]["plain"]
    assert all(padme(plain) == padded for plain, padded in data["padded_lengths"])


@check
def control_messages():
    reader = Reader(bytes.fromhex(load("bodies")["control_body"]))
    seen, blobs, control = each(reader.vector(), reached), reader.vector(), Reader(reader.vector())
    reader.end()
    assert seen == [(b"\x66" * 16, 9, b"\x77" * 32)] and blobs == b""
    assert (control.number(1), control.vector()) == (1, b"Pixel 9")
    assert (control.number(1), control.take(16), control.number(8)) == (2, b"\x01" * 16, 2)
    assert each(control.vector(), span) == [(b"\x03" * 16, 4, 5)]
    assert (control.number(1), control.take(16), control.number(8)) == (3, b"\x01" * 16, 2)
    runs = each(control.vector(), lambda r: (r.take(16), r.number(8), r.vector(), each(r.vector(), span)))
    assert [(run[0], run[1], run[3]) for run in runs] == [(b"\x03" * 16, 4, [(b"\x03" * 16, 1, 4)])]
    assert unpack(runs[0][2]) == load("bodies")["packed"]["blobs"]
    assert each(control.vector(), span) == [(b"\x03" * 16, 4, 5)]
    assert control.number(1) == 4
    assert (control.number(1), control.number(8), control.take(16)) == (5, 3, b"\x01" * 16)
    assert each(control.vector(), span) == [(b"\x03" * 16, 4, 5)]
    assert (control.number(1), control.take(16), control.number(8)) == (6, b"\x01" * 16, 3)
    assert each(control.vector(), lambda r: r.vector()) == [b"an envelope"]
    heads = each(control.vector(), head)
    assert heads == [(5, b"\x06" * 32, b"a header", b"\x07" * 32, b"\x08" * 64)]
    assert control.number(1) == 7 and each(control.vector(), head) == heads
    assert control.number(1) == 8
    assert control.number(1) == 11 and each(control.vector(), head) == heads
    assert [control.number(size) for size in (1, 8, 1, 8)] == [12, 6, 2, 7]
    assert each(control.vector(), lambda r: r.take(16)) == [b"\x03" * 16]
    assert (control.number(1), control.take(16), control.number(8)) == (13, b"\x01" * 16, 6)
    assert control.vector() == b"a key package"
    control.end()


def sealed_envelope(raw, suite):
    """The parts of the envelope, after all that both suites have alike."""
    public = Ed25519PrivateKey.from_private_bytes(raw["signing_seed"]).public_key()
    public = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert labelled("device id", public)[:16] == raw["sender"]
    reader = Reader(raw["envelope"])
    header, ciphertext, signature = reader.take(99), reader.vector(), reader.rest()
    assert header == raw["header"] and len(signature) == 64
    fields = Reader(header)
    assert (fields.number(1), fields.number(1), fields.number(1), fields.number(8)) == (1, suite, 1, 3)
    assert (fields.take(8), fields.take(16), fields.number(8)) == (b"\x88" * 8, raw["sender"], 2)
    assert fields.take(32) == b"\x99" * 32
    random = fields.rest()
    ct_hash = labelled("ciphertext", ciphertext)
    assert signed(public, "envelope", raw["group"] + header + ct_hash, signature)
    assert not signed(public, "envelope", bytes(32) + header + ct_hash, signature)
    assert labelled("envelope hash", header + ct_hash + signature) == raw["hash"]
    body = Reader(raw["plain"])
    assert body.vector() == b""
    assert unpack(body.vector()) == load("bodies")["packed"]["blobs"]
    return header, random, ciphertext


def opens(raw, header, ciphertext, opened):
    assert unpad(opened(raw["group"] + header, ciphertext)) == raw["plain"]
    try:
        opened(bytes(32) + header, ciphertext)
        raise AssertionError("it opens for another group")
    except InvalidTag:
        pass


@check
def envelope():
    raw = {name: bytes.fromhex(text) for name, text in load("envelope").items()}
    header, random, ciphertext = sealed_envelope(raw, 1)
    key = hkdf_expand(raw["epoch_secret"], (PREFIX + "data").encode() + raw["sender"], 32)
    assert key == raw["sender_key"]
    opens(raw, header, ciphertext, lambda aad, sealed: xchacha_open(key, random, aad, sealed))


@check
def envelope_of_suite_2():
    raw = {name: bytes.fromhex(text) for name, text in load("envelope-fips").items()}
    header, random, ciphertext = sealed_envelope(raw, 2)
    key = hkdf_expand(raw["epoch_secret"], (PREFIX + "envelope key").encode() + raw["sender"] + random[:12], 32)
    assert (key, random[12:]) == (raw["envelope_key"], raw["nonce"])
    opens(raw, header, ciphertext, lambda aad, sealed: AESGCM(key).decrypt(random[12:], sealed, aad))


@check
def statements():
    data = load("statements")
    group, public = bytes.fromhex(data["group"]), bytes.fromhex(data["public_key"])
    statement = bytes.fromhex(data["acknowledgement"])
    assert signed(public, "acknowledgement", group + statement[:-64], statement[-64:])
    reader = Reader(statement[:-64])
    assert reader.take(16) == labelled("device id", public)[:16]
    assert each(reader.vector(), reached) == [(b"\x66" * 16, 7, b"\x77" * 32)]
    assert each(reader.vector(), span) == [(b"\x66" * 16, 2, 3)]
    reader.end()
    reject = bytes.fromhex(data["reject"])
    assert signed(public, "reject", group + reject[:-64], reject[-64:])
    assert reject[16:24] == (5).to_bytes(8, "big") and reject[24:56] == b"\xbb" * 32
    moved = bytes.fromhex(data["move"])
    assert signed(public, "move", group + moved[:-64], moved[-64:])
    reader = Reader(moved[:-64])
    assert reader.number(2) == 0xF0C8
    assert [reader.vector() for _ in range(3)] == [b"a commit", b"a GroupInfo", b"a Welcome"]
    reader.end()
    assert bytes.fromhex(data["successor"]) == group + (6).to_bytes(8, "big") + b"\x99" * 16
    exporter, proof = bytes.fromhex(data["attach"]["exporter"]), bytes.fromhex(data["attach"]["proof"])
    assert signed(public, "attach", group + labelled("device id", public)[:16] + exporter, proof)
    replace = data["replace_key"]
    transcript, new_key = bytes.fromhex(replace["transcript"]), bytes.fromhex(replace["new_key"])
    reader = Reader(bytes.fromhex(replace["proof"]))
    kind, old, signature = reader.number(1), reader.take(16), reader.rest()
    assert kind == 1 and old == labelled("device id", public)[:16]
    said = group + replace["epoch"].to_bytes(8, "big") + vector(transcript) + old + new_key
    assert signed(public, "replace key", said, signature)


@check
def frames():
    data = {name: bytes.fromhex(text) for name, text in load("frames").items()}
    for frame in data.values():
        assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    bare = {name: frame[4:] for name, frame in data.items()}
    attach = b"\x01\x01\x01" + b"\x11" * 32 + b"\x01" * 16 + (42).to_bytes(8, "big") + b"\x02" * 64
    assert bare["attach"] == attach
    assert bare["push"] == b"\x03" + vector(vector(b"\x01\x02\x03") + vector(b"\x04"))
    assert bare["acknowledge"] == b"\x04" + (9).to_bytes(8, "big") + vector(b"")
    assert bare["welcome_stored"] == b"\x08"
    assert bare["deliver"] == b"\x02" + vector((10).to_bytes(8, "big") + b"\x02" + vector(b"\x05" * 70))
    assert bare["accepted"] == b"\x03" + (11).to_bytes(8, "big")
    assert bare["going_away"] == b"\x09" + (1500).to_bytes(4, "big")
    assert bare["ask_group_info"] == b"\x0c\x01" + b"\x01" * 16
    assert bare["group_info"] == b"\x0e" + vector(b"\x06" * 3)
    welcome = b"\x05" * 16 + vector(b"\x06")
    commits = vector(vector(b"\x01\x02") + vector(b"\x03"))
    assert bare["copy_commits"] == b"\x12" + commits + vector(b"\x04" * 3) + vector(welcome)
    assert bare["open_nameplate"] == b"\x14\x01" + (600).to_bytes(4, "big")
    assert bare["join_nameplate"] == b"\x15\x01" + (7).to_bytes(4, "big")
    assert bare["nameplate"] == b"\x14" + (7).to_bytes(4, "big")
    assert bare["caught_up"] == b"\x0d" + (12).to_bytes(8, "big")
    content, size = b"\x07" * 32, (272).to_bytes(8, "big")
    assert bare["give_content"] == b"\x18" + attach[1:] + b"\x01" + content + size
    assert bare["take_content"] == b"\x18" + attach[1:] + b"\x02" + content + size
    assert bare["have_content"] == b"\x18" + attach[1:] + b"\x03" + vector(content)
    assert bare["content_held"] == b"\x17\x02"
    named = content + b"\x08" * 32 + b"\x01" + (5).to_bytes(8, "big")
    assert bare["file_put"] == b"\x01" + named + vector(b"a.txt") + (9).to_bytes(8, "big")
    assert bare["file_removed"] == b"\x02" + b"\x03" * 16
    named = content + b"\x08" * 32 + b"\x01" + (1_048_577).to_bytes(8, "big")
    assert bare["large_blob"] == vector(b"notes") + named


@check
def links():
    data = load("link")
    app = labelled("pairing app", data["app_id"].encode())[:8]
    for link in data["links"]:
        text = link["text"]
        assert text.startswith("KSYNC:") and set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567:")
        coded = text[6:]
        raw = base64.b32decode(coded + "=" * (-len(coded) % 8))
        assert raw.hex() == link["bytes"]
        assert zlib.crc32(raw[:-4]) == int.from_bytes(raw[-4:], "big")
        reader = Reader(raw[:-4])
        assert (reader.number(1), reader.number(1)) == (link["version"], link["suite"])
        assert reader.take(8).hex() == link["app"] == app.hex()
        assert reader.number(1) == {"member": 1, "newcomer": 2}[link["shows"]]
        assert reader.number(4) == link["expires_at"]
        secret = reader.take(32)
        assert secret.hex() == link["secret"]
        assert labelled("pairing slot", secret)[:16].hex() == link["slot"]
        assert reader.take(32).hex() == link["fingerprint"]


def conversation(data, pairing, noise, messages, kinds):
    """What is said in the channel of a pairing, kind by kind."""
    keys, sent, said = hkdf(noise.ck, b"", 2), [0, 0], []
    for message, sealed in messages:
        way = int(message["from"] == pairing["shows"])
        plain = noise.cipher(keys[way]).decrypt(nonce(noise.cipher, sent[way]), sealed[1:], b"")
        sent[way] += 1
        content = plain.rstrip(b"\0")
        assert sealed[0] == 2 and len(plain) % 256 == 0 and len(plain) - len(content) < 256 and content[-1] == 0x80
        said.append((message["from"], Reader(content[:-1])))
    assert [reader.number(1) for _, reader in said] == kinds
    assert [who for who, _ in said] == ["member" if kind in (1, 4) else "newcomer" for kind in kinds]
    hello, join, offer = (reader for (_, reader), kind in zip(said, kinds) if kind in (1, 3, 4))
    assert hello.number(8) == pairing["now_ms"]
    assert hello.take(32) == labelled("pairing app", data["app_id"].encode())
    assert (join.vector().hex(), join.vector().decode()) == (pairing["key_package"], pairing["name"])
    promised = pairing["offer"]
    assert (offer.take(32).hex(), offer.take(16).hex()) == (promised["group"], promised["sponsor"])
    assert offer.vector().hex() == promised["settings"]
    names = each(offer.vector(), lambda r: [r.take(16).hex(), r.vector().decode()])
    assert (names, offer.number(8)) == (promised["names"], promised["time_ms"])
    for _, reader in said:
        reader.end()


@check
def pairings():
    over_links(load("pairing"), Party, False)


@check
def pairings_of_suite_2():
    data = load("pairing-fips")
    assert all(bytes.fromhex(pairing["link"]["bytes"])[1] == 2 for pairing in data["pairings"])
    over_links(data, ApprovedParty, True)


def over_links(data, party, is_recorded):
    for pairing in data["pairings"]:
        link, secret = (bytes.fromhex(pairing["link"][name]) for name in ("bytes", "secret"))
        drawn = bytes.fromhex(pairing["shower_random"])
        assert drawn[:32] == secret
        shower, scanner = party(drawn[32:]), party(bytes.fromhex(pairing["scanner_random"]))
        fingerprint = labelled("pairing keys", bare(shower.static) + shower.static_kem)
        assert fingerprint.hex() == pairing["link"]["fingerprint"]
        messages = [bytes.fromhex(message["bytes"]) for message in pairing["messages"]]
        noise = Noise(data["protocol"], link)
        recorded = [message[2:] for message in messages[:4]] if is_recorded else None
        made = handshake(noise, labelled("pairing psk", secret), scanner, shower, recorded)
        assert [bytes([1, n]) + message for n, message in enumerate(made, 1)] == messages[:4]
        code = int.from_bytes(labelled("pairing check code", noise.h)[:8], "big") % 10_000
        assert f"{code:04}" == pairing["check_code"]
        # Hello, where the newcomer shows Checked, Join, Offer, Taken.
        kinds = [1, 3, 4, 5] if pairing["shows"] == "member" else [1, 2, 3, 4, 5]
        conversation(data, pairing, noise, list(zip(pairing["messages"], messages))[4:], kinds)


@check
def codes():
    data = load("code")
    listed = data["words"].split()
    assert hashlib.sha256(("\n".join(listed) + "\n").encode()).hexdigest() == BIP39_ENGLISH and len(listed) == 2048
    for code in data["codes"]:
        secret = int(code["secret"], 16)
        words = [listed[secret >> shift & 0x7FF] for shift in (22, 11, 0)]
        assert code["text"] == "-".join([str(code["nameplate"]), *words])
    sound = {bool(point["sound"]) for point in data["points"]}
    assert sound == {True, False}
    for point in data["points"]:
        assert edwards25519.is_sound(bytes.fromhex(point["bytes"])) == point["sound"], point


@check
def pairings_by_code():
    data = load("code")
    listed = data["words"].split()
    app = labelled("pairing app", data["app_id"].encode())
    for pairing in data["pairings"]:
        drawn, typed = (bytes.fromhex(pairing[name]) for name in ("shower_random", "scanner_random"))
        secret = int.from_bytes(drawn[:8], "big")
        words = [listed[secret >> shift & 0x7FF] for shift in (22, 11, 0)]
        assert pairing["code"] == "-".join([str(pairing["nameplate"]), *words])
        password = labelled("pairing code", pairing["code"].encode())
        ids = [(PREFIX + f"pairing code {role}").encode() for role in ("types", "shows")]
        types, shows = (
            edwards25519.Spake2(side, password, *ids, scalar) for side, scalar in (("A", typed[:64]), ("B", drawn[8:72]))
        )
        key = types.key(shows.message)
        assert key == shows.key(types.message)
        sides = {"member": 1, "newcomer": 2}
        shower_side = sides[pairing["shows"]]
        said = [
            bytes([1, 1]) + app[:8] + bytes([side]) + pairing["nameplate"].to_bytes(4, "big") + exchange.message
            for side, exchange in ((3 - shower_side, types), (shower_side, shows))
        ]
        messages = [bytes.fromhex(message["bytes"]) for message in pairing["messages"]]
        assert messages[:2] == [bytes([4, number]) + message for number, message in enumerate(said, 1)]
        noise = Noise(data["protocol"], said[0] + said[1])
        made = handshake(noise, labelled("pairing code psk", key), Party(typed[64:]), Party(drawn[72:]))
        assert [bytes([1, n]) + message for n, message in enumerate(made, 1)] == messages[2:6]
        # Hello, Join, Offer, Taken, whoever shows: nobody types digits.
        conversation(data, pairing, noise, list(zip(pairing["messages"], messages))[6:], [1, 3, 4, 5])


# --- what lies on a disk --------------------------------------------------------------------------------------------------


def locked(data, magic, secret):
    """Opens a vault file or a backup's head by its lock's secret; gives the key."""
    reader = Reader(data)
    assert reader.take(8) == magic and reader.number(1) == 1
    reader.take(16)
    kind = reader.number(1)
    if kind == 1:
        reader.take(16)
        wrapping = secret
    elif kind == 2:
        memory, passes, salt = reader.number(4), reader.number(1), reader.take(16)
        assert 12 * 1024 <= memory <= 256 * 1024 and 1 <= passes <= 10 and memory * passes >= 36 * 1024
        typed = unicodedata.normalize("NFC", secret).encode()
        kind_id = argon2.low_level.Type.ID
        wrapping = argon2.low_level.hash_secret_raw(typed, salt, passes, memory, 1, 32, kind_id, 19)
    else:
        assert kind == 3
        wrapping = reader.take(32)
    head = data[: reader.at]
    nonce, wrapped = reader.take(24), reader.take(48)
    name = {b"0ksvault": "vault", b"0ksbackp": "backup"}[magic]
    label = {"vault": "vault file", "backup": "backup head"}[name]
    assert labelled(label, data[: reader.at])[:8] == reader.take(8)
    reader.end()
    return xchacha_open(hkdf_expand(wrapping, f"{PREFIX}{name} key".encode(), 32), nonce, head, wrapped)


def place_of(kind, place):
    text = lambda name: vector(place[name].encode())
    raw = lambda name: bytes.fromhex(place[name])
    number = lambda name: place[name].to_bytes(8, "big")
    flag = lambda: bytes([place["snapshot"]])
    if kind == "meta":
        return b"\x01" + text("name")
    if kind == "state":
        return b"\x02" + vector(raw("key"))
    if kind == "blob":
        return b"\x03" + raw("id") + text("channel") + flag()
    if kind == "held":
        return b"\x04" + raw("id") + raw("sender") + number("seq") + text("channel") + flag()
    if kind == "refused":
        sender = b"\x01" + raw("sender") if place["sender"] else b"\x00"
        return b"\x05" + number("cursor") + sender + text("outcome") + number("at")
    assert kind == "transport_key"
    return b"\x06"


@check
def vault():
    data = load("vault")
    key, vaults = bytes.fromhex(data["key"]), data["vaults"]
    secrets = {
        "keychain": bytes.fromhex(vaults["keychain"]["kept"]),
        "passphrase": vaults["passphrase"]["typed"],
        "key_file": None,
    }
    assert set(vaults) == set(secrets)
    for name, secret in secrets.items():
        assert locked(bytes.fromhex(vaults[name]["file"]), b"0ksvault", secret) == key
    cells = hkdf_expand(key, (PREFIX + "vault cells").encode(), 32)
    for cell in data["cells"]:
        sealed = bytes.fromhex(cell["sealed"])
        plain = xchacha_open(cells, sealed[:24], place_of(cell["kind"], cell["place"]), sealed[24:])
        assert plain == bytes.fromhex(cell["plain"])


@check
def backup():
    data = load("backup")
    file = bytes.fromhex(data["file"])
    key = locked(file[:127], b"0ksbackp", data["typed"])
    stream = hkdf_expand(key, (PREFIX + "backup stream").encode(), 32)
    prefix, rest = file[127:146], file[146:]
    assert rest[-8:] == b"0ksbkend"
    rest, plain = rest[:-8], b""
    chunks = [rest[at : at + 65536] for at in range(0, len(rest), 65536)]
    assert len(chunks) > 1
    for number, chunk in enumerate(chunks):
        last = bytes([number + 1 == len(chunks)])
        plain += xchacha_open(stream, prefix + number.to_bytes(4, "big") + last, b"", chunk)
    records = each(plain, lambda reader: reader.vector())
    reader = Reader(records[0])
    assert reader.number(1) == 1
    settings = data["settings"]
    assert reader.number(8) == settings["made_at"]
    for name in ("app_id", "name", "relay"):
        assert reader.vector().decode() == settings[name]
    assert reader.number(1) == settings["history"] and reader.number(8) == len(data["blobs"])
    reader.end()
    assert len(records) == 1 + len(data["blobs"])
    for record, blob in zip(records[1:], data["blobs"]):
        reader = Reader(record)
        assert reader.number(1) == 2
        for name in ("id", "origin", "sender"):
            assert reader.take(16).hex() == blob[name]
        assert reader.number(8) == blob["seq"] and reader.number(1) == blob["snapshot"]
        assert reader.vector().decode() == blob["channel"]
        wanted = blob["data"]
        wanted = bytes.fromhex(wanted) if isinstance(wanted, str) else bytes.fromhex(wanted["repeat"]) * wanted["times"]
        assert reader.vector() == wanted
        reader.end()


def kit_keys(entropy):
    """A recovery kit's public key, its MAC key, and what its key to seal for is derived from."""
    seed, mac_key, ikm = (
        hkdf_expand(entropy, (PREFIX + label).encode(), 32)
        for label in ("recovery signing", "recovery mac", "recovery sealing")
    )
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return public, mac_key, ikm


@check
def recovery_kits():
    data = load("recovery")
    listed = load("code")["words"].split()
    group = bytes.fromhex(data["group"])
    for kit in data["kits"]:
        entropy = bytes.fromhex(kit["entropy"])
        bits = int.from_bytes(entropy + hashlib.sha256(entropy).digest()[:1], "big")
        assert kit["words"].split() == [listed[bits >> 11 * (23 - at) & 0x7FF] for at in range(24)]
        public, mac_key, ikm = kit_keys(entropy)
        assert (public.hex(), mac_key.hex()) == (kit["recovery_key"], kit["mac_key"])
        for held, is_fips in ((kit, False), (kit["fips"], True)):
            seal_key = bytes.fromhex(held["seal_key"])
            assert seal_key == hpke.kem_public(*hpke.kem_derive(ikm, is_fips))
            share = Reader(bytes.fromhex(held["share"]))
            assert (share.take(32), share.vector()) == (mac_key, seal_key)
            assert signed(public, "recovery share", group + mac_key + vector(seal_key), share.rest())
    # The last one's words for what it is asked.
    proof = data["proof"]
    reader = Reader(bytes.fromhex(proof["proof"]))
    kind, signature = reader.number(1), reader.rest()
    transcript, new_key = bytes.fromhex(proof["transcript"]), bytes.fromhex(proof["new_key"])
    said = group + proof["epoch"].to_bytes(8, "big") + vector(transcript) + new_key
    assert kind == 2 and signed(public, "recovery", said, signature)
    recover = Reader(bytes.fromhex(data["recover"]["frame"])[4:])
    assert (recover.number(1), recover.number(1), recover.take(32), recover.number(1)) == (15, 1, public, 1)
    exporter = bytes.fromhex(data["recover"]["exporter"])
    assert signed(public, "recovery attach", public + exporter, recover.rest())
    vouch = Reader(bytes.fromhex(data["vouch"]["frame"])[4:])
    assert (vouch.number(1), vouch.number(1), vouch.number(8)) == (16, 1, 6)
    content = bytes.fromhex(data["vouch"]["content"])
    assert hmac.new(mac_key, under_label("recovery state", content), hashlib.sha256).digest() == vouch.rest()


@check
def snapshots_for_a_kit():
    data = load("kit-snapshot")
    group, entropy = bytes.fromhex(data["group"]), bytes.fromhex(data["entropy"])
    public, mac_key, ikm = kit_keys(entropy)
    plain = bytes.fromhex(data["plain"])
    reader = Reader(plain)
    device, maker, at, blob = reader.take(16), reader.take(16), reader.number(8), reader.take(16)
    channel, covers, text = reader.vector(), each(reader.vector(), span), reader.vector()
    reader.end()
    assert (channel, at, text.decode()) == (b"notes", 1790000000000, "all of it: ü") and len({device, maker, blob}) == 3
    assert covers == [(maker, 1, 300)]

    def mac(label, content):
        return hmac.new(mac_key, vector((PREFIX + label).encode()) + content, hashlib.sha256).digest()

    for suite, is_fips in (("XWing", False), ("Fips", True)):
        frame = Reader(bytes.fromhex(data[suite]["frame"])[4:])
        assert (frame.number(1), frame.number(1), frame.take(32)) == (16, 2, public)
        slot, sealed, said = frame.take(16), frame.vector(), frame.rest()
        assert slot == mac("recovery slot", group + device + vector(channel))[:16]
        assert said == mac("recovery snapshot mac", group + public + slot + vector(sealed))
        info = vector((PREFIX + "recovery snapshot").encode()) + group + public
        assert unpad(hpke.open(hpke.kem_derive(ikm, is_fips), is_fips, info, slot, sealed)) == plain


# --- content ------------------------------------------------------------------------------------------------------------


@check
def content():
    contents = load("content")["contents"]
    assert {case["suite"] for case in contents} == {1, 2}
    for case in contents:
        key, suite, size = bytes.fromhex(case["key"]), case["suite"], case["size"]
        label, prefix = ("content", 19) if suite == 1 else ("content key", 7)
        derived = hkdf_expand(key, (PREFIX + label).encode(), 32 + prefix)
        plain = bytes(at % 251 for at in range(size))
        assert padme(size) == case["padded"]
        plain += bytes(case["padded"] - size)
        pieces = [plain[at : at + 65520] for at in range(0, len(plain), 65520)]
        assert len(pieces) == len(case["chunks"])
        for number, (piece, chunk) in enumerate(zip(pieces, case["chunks"])):
            place = derived[32:] + number.to_bytes(4, "big") + bytes([number + 1 == len(pieces)])
            seal = xchacha_seal if suite == 1 else lambda key, nonce, plain: AESGCM(key).encrypt(nonce, plain, None)
            sealed = seal(derived[:32], place, piece)
            assert len(sealed) == chunk["length"] and hashlib.sha256(sealed).hexdigest() == chunk["sha256"]


def main():
    failed = 0
    for function in CHECKS:
        try:
            function()
            print(f"ok      {function.__name__}")
        except Exception as error:  # a vector that does not even parse has failed, too
            failed += 1
            print(f"FAILED  {function.__name__}: {type(error).__name__} {error}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())

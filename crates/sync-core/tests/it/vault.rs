//! Golden vectors of what lies on a disk: a locked key, sealed values, a backup. `vectors/check.py` reads them with code of its
//! own.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sync_core::vault::backup::{Entry, PREFIX_BYTES, Record, Settings, Writer};
use sync_core::vault::{Cell, Kdf, Kind, Lock, LockedKey, Passphrase, Sealer, Unlock, VaultKey};
use sync_types::settings::HistoryPolicy;
use sync_types::{BlobId, DeviceId, Opaque};

use crate::golden;

const KEY: VaultKey = VaultKey::new([0x22; 32]);
const TYPED: &str = "Gro\u{df}e Pferde, cafe\u{301}";

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn locked(kind: Kind, lock: Lock, with: Unlock<'_>) -> LockedKey {
    LockedKey::lock(kind, [0x11; 16], lock, with, [0x33; 24], &KEY).unwrap()
}

#[test]
fn golden_vault() {
    let passphrase = Passphrase::new(TYPED).unwrap();
    let kept = VaultKey::new([0x44; 32]);
    let keychain = locked(Kind::Vault, Lock::Keychain([0x55; 16]), Unlock::Keychain(&kept));
    let kdf = Kdf::cheapest([0x66; 16]);
    let by_passphrase = locked(Kind::Vault, Lock::Passphrase(kdf), Unlock::Passphrase(&passphrase));
    let file = locked(Kind::Vault, Lock::KeyFile([0x77; 32]), Unlock::KeyFile);
    let (blob, device) = (BlobId([0x88; 16]), DeviceId([0x99; 16]));
    let sealer = Sealer::new(&KEY);
    let places = [
        ("meta", json!({ "name": "relay" }), Cell::Meta("relay")),
        ("state", json!({ "key": "0a07" }), Cell::State(&[0x0a, 7])),
        (
            "blob",
            json!({ "id": blob.to_string(), "channel": "Größe", "snapshot": false }),
            Cell::Blob(blob, "Größe", false),
        ),
        (
            "held",
            json!({
                "id": blob.to_string(), "sender": device.to_string(), "seq": 7, "channel": "notes", "snapshot": true
            }),
            Cell::Held(blob, device, 7, "notes", true),
        ),
        (
            "refused",
            json!({ "cursor": 5, "sender": device.to_string(), "outcome": "forged", "at": 1_700_000_000_000_u64 }),
            Cell::Refused(5, Some(device), "forged", 1_700_000_000_000),
        ),
        (
            "refused",
            json!({ "cursor": 5, "sender": null, "outcome": "forged", "at": 0 }),
            Cell::Refused(5, None, "forged", 0),
        ),
        ("transport_key", json!({}), Cell::TransportKey),
    ];
    let cells: Vec<Value> = places
        .into_iter()
        .map(|(kind, place, cell)| {
            json!({ "kind": kind, "place": place, "plain": hex(b"a value"), "sealed": hex(&sealer.seal(cell, b"a value", [0xaa; 24])) })
        })
        .collect();
    let vaults = json!({
        "keychain": { "kept": hex(kept.as_bytes()), "file": hex(&keychain.to_bytes()) },
        "passphrase": { "typed": TYPED, "file": hex(&by_passphrase.to_bytes()) },
        "key_file": { "file": hex(&file.to_bytes()) },
    });
    golden::check("vault", &json!({ "key": hex(KEY.as_bytes()), "vaults": vaults, "cells": cells }));
}

#[test]
fn golden_backup() {
    let passphrase = Passphrase::new(TYPED).unwrap();
    let lock = Lock::Passphrase(Kdf::cheapest([0x66; 16]));
    let head = locked(Kind::Backup, lock, Unlock::Passphrase(&passphrase));
    let text = |text: &str| Opaque(text.into());
    let settings = Settings {
        made_at: 1_700_000_000_000,
        app_id: text("org.example.notes"),
        name: text("Pixel 9"),
        relay: text("https://sync.example.org"),
        history: HistoryPolicy::All,
        blobs: 3,
    };
    let first = Entry {
        id: BlobId([1; 16]),
        origin: DeviceId([2; 16]),
        sender: DeviceId([3; 16]),
        seq: 4,
        snapshot: false,
        channel: text("Größe"),
        data: text("hello"),
    };
    let waiting = Entry { id: BlobId([5; 16]), seq: 0, snapshot: true, data: text("world"), ..first.clone() };
    // Enough for two chunks, of bytes that can be written down in short.
    let large = Entry { id: BlobId([6; 16]), data: Opaque(vec![0x5a; 70_000]), ..first.clone() };
    let entries = [first, waiting, large];
    let (mut writer, mut file) = Writer::begin(&head, &KEY, [0xbb; PREFIX_BYTES]);
    file.extend(writer.put(&Record::Settings(settings)));
    for entry in &entries {
        file.extend(writer.put(&Record::Blob(entry.clone())));
    }
    file.extend(writer.finish());
    let blobs: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let data = if entry.data.len() > 100 {
                json!({ "repeat": "5a", "times": 70_000 })
            } else {
                json!(hex(&entry.data))
            };
            json!({
                "id": entry.id.to_string(), "origin": entry.origin.to_string(), "sender": entry.sender.to_string(),
                "seq": entry.seq, "snapshot": entry.snapshot, "channel": "Größe", "data": data,
            })
        })
        .collect();
    let settings = json!({
        "made_at": 1_700_000_000_000_u64, "app_id": "org.example.notes", "name": "Pixel 9",
        "relay": "https://sync.example.org", "history": 1,
    });
    golden::check("backup", &json!({ "typed": TYPED, "file": hex(&file), "settings": settings, "blobs": blobs }));
}

//! Golden vectors of sealed content, in `vectors/content.json`, which `vectors/check.py` makes anew with code of its own.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sync_content::ContentKey;
use sync_content::seal::{Chunks, PLAIN_CHUNK, padded_size};
use sync_types::Suite;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/content.json");

/// The content of a vector: bytes that count up, so that no two chunks are alike.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}

fn vector(suite: Suite, fill: u8, size: usize) -> Value {
    let key = [fill; 32];
    let chunks = Chunks::new(&ContentKey::from_bytes(key), suite, size as u64).unwrap();
    let content = content(size);
    let sealed: Vec<Value> = (0..chunks.count())
        .map(|number| {
            let start = (number as usize * PLAIN_CHUNK).min(size);
            let mut chunk = content[start..start + chunks.content_len(number)].to_vec();
            chunks.seal(number, &mut chunk);
            json!({ "length": chunk.len(), "sha256": HEXLOWER.encode(&Sha256::digest(&chunk)) })
        })
        .collect();
    let suite = if suite == Suite::Fips { 2 } else { 1 };
    json!({
        "suite": suite, "key": HEXLOWER.encode(&key), "size": size, "padded": padded_size(size as u64), "chunks": sealed,
    })
}

#[test]
fn golden_content() {
    let sizes = [0, 1, 300, PLAIN_CHUNK, 3 * PLAIN_CHUNK - 5_000];
    let vectors: Vec<Value> = [Suite::XWing, Suite::Fips]
        .into_iter()
        .flat_map(|suite| sizes.iter().zip(1..).map(move |(size, fill)| vector(suite, fill, *size)))
        .collect();
    let made = json!({ "contents": vectors });
    if std::env::var_os("KSYNC_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(FILE, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    assert!(
        committed == made,
        "content.json differs: if a change of the format is meant, KSYNC_BLESS=1 writes it anew"
    );
}

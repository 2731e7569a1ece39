//! Large content: sealing it, keeping it and handing it over, beside the cipher and the line by themselves.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use sync_content::seal::{Chunks, PLAIN_CHUNK};
use sync_content::{Content, ContentKey, ContentStore, FolderStore, Options, Progress};
use sync_types::Suite;

use crate::report::{Aim, Report};
use crate::{Bounds, Outcome, own_cpu, process, quic};

const PART: &str = "Large content, by the library alone";
/// How large the content is.
pub(crate) const SIZE: u64 = 1 << 30;
/// For how long a cipher is timed.
const TIMED: Duration = Duration::from_secs(2);

pub(crate) async fn run(folder: &Path, bounds: &Bounds, report: &mut Report) -> Outcome<()> {
    let plain = cipher()?;
    let words = "one core, blocks as large as a chunk".to_owned();
    report.bound(PART, "XChaCha20-Poly1305 by itself", plain / 1e6, "MB/s", words);
    let sealing = sealing()?;
    let words = format!("{:.0} % of the cipher by itself", 100.0 * sealing / plain);
    report.figure(PART, "sealing chunks", (sealing / 1e6, "MB/s"), Aim::AtLeast(0.9 * plain / 1e6), words);

    let file = folder.join("file");
    written(&file)?;
    let (laptop, phone) = (folder.join("laptop"), folder.join("phone"));
    let (laptop, phone) =
        (FolderStore::open(&laptop, Options::default()).await?, FolderStore::open(&phone, Options::default()).await?);
    let (began, cpu) = (Instant::now(), own_cpu()?);
    let content = laptop.put(&file, Suite::XWing, quiet()).await?;
    let words = format!("sealed, hashed and on disk; {:.2} s of a processor for it", own_cpu()? - cpu);
    report.bound(PART, "putting 1 GiB", rate(began) / 1e6, "MB/s", words);

    let (took, first, cpu) = handed(&laptop, &phone, &content).await?;
    let words = format!(
        "{:.0} % of one stream with nothing behind it; the first bytes after {first:.1?}; {cpu:.2} s of a processor for both sides",
        100.0 * took / bounds.quic
    );
    report.bound(PART, "handing it over by QUIC, verified", took / 1e6, "MB/s", words);

    let (began, cpu) = (Instant::now(), own_cpu()?);
    phone.export(&content, &folder.join("exported"), true, quiet()).await?;
    let words = format!("opened and flushed; {:.2} s of a processor for it", own_cpu()? - cpu);
    report.bound(PART, "exporting it", rate(began) / 1e6, "MB/s", words);
    let peak = process::peak_memory_of("self")? as f64 / f64::from(1 << 20);
    report.bound(PART, "the most memory of all that", peak, "MiB", "both sides in one process".to_owned());
    laptop.close().await?;
    phone.close().await?;
    Ok(())
}

pub(crate) fn quiet() -> Progress {
    Arc::new(|_| ())
}

/// Bytes a second, if the content took since then.
fn rate(began: Instant) -> f64 {
    SIZE as f64 / began.elapsed().as_secs_f64()
}

/// A file of [`SIZE`], of bytes that no file system keeps as a hole.
pub(crate) fn written(path: &Path) -> Outcome<()> {
    written_of(path, SIZE)
}

/// Such a file of so many mebibytes, given in bytes.
pub(crate) fn written_of(path: &Path, size: u64) -> Outcome<()> {
    let mut file = std::fs::File::create(path)?;
    let mut block = vec![0; 1 << 20];
    getrandom::fill(&mut block)?;
    for n in 0..size >> 20 {
        block[..8].copy_from_slice(&n.to_le_bytes());
        file.write_all(&block)?;
    }
    Ok(file.sync_all()?)
}

/// Bytes a second of the cipher.
pub(crate) fn cipher() -> Outcome<f64> {
    let cipher = XChaCha20Poly1305::new(&[7; 32].into());
    let mut block = Vec::with_capacity(PLAIN_CHUNK + 16);
    let (began, mut sealed) = (Instant::now(), 0_u64);
    while began.elapsed() < TIMED {
        block.clear();
        block.resize(PLAIN_CHUNK, 7);
        let mut nonce = [0; 24];
        nonce[..8].copy_from_slice(&sealed.to_le_bytes());
        cipher.encrypt_in_place(&nonce.into(), &[], &mut block).map_err(|e| e.to_string())?;
        sealed += PLAIN_CHUNK as u64;
    }
    Ok(sealed as f64 / began.elapsed().as_secs_f64())
}

/// Bytes a second of sealing chunks.
pub(crate) fn sealing() -> Outcome<f64> {
    let chunks = Chunks::new(&ContentKey::generate()?, Suite::XWing, SIZE)?;
    let mut block = Vec::with_capacity(PLAIN_CHUNK + 16);
    let (began, mut sealed) = (Instant::now(), 0_u64);
    for number in (0..SIZE / PLAIN_CHUNK as u64).cycle() {
        if began.elapsed() >= TIMED {
            break;
        }
        block.clear();
        block.resize(PLAIN_CHUNK, 7);
        chunks.seal(u32::try_from(number)?, &mut block);
        sealed += PLAIN_CHUNK as u64;
    }
    Ok(sealed as f64 / began.elapsed().as_secs_f64())
}

/// Hands content over on one stream. Gives bytes a second, the time until the first came, and seconds of a processor.
async fn handed(from: &FolderStore, to: &FolderStore, content: &Content) -> Outcome<(f64, Duration, f64)> {
    let (server, client) = (quic::endpoint().await?, quic::endpoint().await?);
    let address = quic::address(&server);
    let giving = async {
        let connection = server.accept().await.ok_or("nobody came")?.await?;
        let (send, receive) = connection.accept_bi().await?;
        from.give(content.sealed(), Box::new(receive), Box::new(send)).await?;
        connection.closed().await;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    };
    let first = Arc::new(OnceLock::new());
    let taking = async {
        let connection = quic::connect(&client, address).await?;
        let (send, receive) = connection.open_bi().await?;
        let (began, cpu, noted) = (Instant::now(), own_cpu()?, first.clone());
        let progress: Progress = Arc::new(move |_| {
            noted.get_or_init(|| began.elapsed());
        });
        to.take(content.sealed(), Box::new(receive), Box::new(send), progress).await?;
        let (rate, cpu) = (rate(began), own_cpu()? - cpu);
        connection.close(0_u32.into(), b"");
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((rate, cpu))
    };
    let (given, taken) = tokio::join!(giving, taking);
    given?;
    let (rate, cpu) = taken?;
    client.close().await;
    server.close().await;
    Ok((rate, first.get().copied().unwrap_or_default(), cpu))
}

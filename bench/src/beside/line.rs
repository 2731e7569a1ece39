//! What a line does by itself: how late, how much of it lost, how much at the most.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use super::networks::{ADDRESSES, Networks};
use crate::Outcome;
use crate::process::Process;
use crate::stats::Sorted;

/// How many packets ask for an echo, and how long there is between two.
const ECHOES: u32 = 2_000;
const BETWEEN: Duration = Duration::from_millis(2);
/// How long an answer may take.
const LATE: Duration = Duration::from_secs(1);
/// For how long a TCP connection is filled.
const FILLED: Duration = Duration::from_secs(5);
const PORT: u16 = 7_007;

/// What was measured of a line.
pub(super) struct Measured {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Of echoes, so that a packet could be lost on its way there or back.
    pub(super) lost_percent: f64,
    /// What one TCP connection of the kernel's carried, in bytes a second.
    pub(super) tcp: f64,
}

/// Measures the line from the first network to the second.
pub(super) async fn measure(networks: &Networks) -> Outcome<Measured> {
    let at = format!("{}:{PORT}", ADDRESSES[1]);
    let mut answering = Process::helper_through(&networks.into(1), &["line-answer", &at])?;
    answering.line().await?;
    let mut asking = Process::helper_through(&networks.into(0), &["line-ask", &at])?;
    let told: Value = serde_json::from_str(&asking.line().await?)?;
    let number = |field: &str| told[field].as_f64().ok_or("the line's figures are incomplete");
    Ok(Measured {
        p50_ms: number("p50_ms")?,
        p99_ms: number("p99_ms")?,
        lost_percent: number("lost_percent")?,
        tcp: number("tcp")?,
    })
}

/// Answers each packet with the same, and counts what comes on a connection.
pub(crate) async fn answer(at: &str) -> Outcome<()> {
    let (packets, connections) = (UdpSocket::bind(at).await?, TcpListener::bind(at).await?);
    println!("ready");
    let echoing = async {
        let mut packet = [0; 2_048];
        loop {
            let (length, from) = packets.recv_from(&mut packet).await?;
            packets.send_to(&packet[..length], from).await?;
        }
    };
    let counting = async {
        let mut piece = vec![0; 1 << 18];
        loop {
            let (mut connection, _) = connections.accept().await?;
            let (mut came, mut began) = (0_u64, None);
            while let Ok(read @ 1..) = connection.read(&mut piece).await {
                began.get_or_insert_with(Instant::now);
                came += read as u64;
                if began.is_some_and(|began| began.elapsed() >= FILLED) {
                    break;
                }
            }
            let took = began.map_or(0.0, |began| began.elapsed().as_secs_f64());
            connection.write_all(&((came as f64 / took.max(1e-9)) as u64).to_le_bytes()).await?;
            // A connection that ends with something unread is reset, and what was just said is lost with it.
            let rest = async { while let Ok(1..) = connection.read(&mut piece).await {} };
            let _ = timeout(FILLED, rest).await;
        }
    };
    tokio::select! {
        over = echoing => over,
        over = counting => over,
    }
}

/// Asks for echoes, then fills a connection; prints what it saw.
pub(crate) async fn ask(at: &str) -> Outcome<()> {
    let socket = Arc::new(UdpSocket::bind("0.0.0.0:0").await?);
    socket.connect(at).await?;
    let (began, hearing) = (Instant::now(), socket.clone());
    let answers = tokio::spawn(async move {
        let (mut packet, mut times) = ([0; 64], Vec::new());
        while let Ok(Ok(length)) = timeout(LATE, hearing.recv(&mut packet)).await {
            if let Some(sent) = packet.get(..16).filter(|_| length >= 16).and_then(|bytes| bytes.try_into().ok()) {
                let sent = Duration::from_nanos(u64::try_from(u128::from_le_bytes(sent)).unwrap_or(u64::MAX));
                times.push(began.elapsed().saturating_sub(sent));
            }
        }
        times
    });
    for _ in 0..ECHOES {
        let mut packet = [0; 64];
        packet[..16].copy_from_slice(&began.elapsed().as_nanos().to_le_bytes());
        socket.send(&packet).await?;
        sleep(BETWEEN).await;
    }
    let times = answers.await?;
    let came = times.len();
    if came == 0 {
        return Err("nothing came back on the line".into());
    }
    let sorted = Sorted::new(times);

    let mut connection = TcpStream::connect(at).await?;
    let piece = vec![0; 1 << 18];
    let (mut from, mut to) = connection.split();
    let filling = async { while to.write_all(&piece).await.is_ok() {} };
    let mut rate = [0; 8];
    let told = async { from.read_exact(&mut rate).await };
    tokio::select! {
        () = filling => return Err("the connection over the line has broken".into()),
        told = timeout(FILLED * 3, told) => { told??; }
    }
    let ms = |percent| sorted.percentile(percent).as_secs_f64() * 1e3;
    let lost = 100.0 * (1.0 - came as f64 / f64::from(ECHOES));
    println!(
        "{}",
        json!({ "p50_ms": ms(50), "p99_ms": ms(99), "lost_percent": lost, "tcp": u64::from_le_bytes(rate) })
    );
    Ok(())
}

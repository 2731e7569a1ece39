//! A relay behind a bad line: it can be slow, lose everything, or be gone.
//!
//! The relay is in a network namespace of its own, since iroh finds every direct way that there is, past any line.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::Relay;

/// What becomes of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They arrive at once.
    Fine,
    /// They arrive, this much later in each direction.
    Slow(Duration),
    /// They never arrive, and nobody says so.
    Silent,
    /// Nobody listens, and whoever sends is told.
    Dead,
}

/// A port on loopback behind which a relay is. The relay ends with this value.
#[derive(Debug)]
pub struct Line {
    address: String,
    own: SocketAddr,
    mode: watch::Sender<Mode>,
    orders: mpsc::Sender<Order>,
}

enum Order {
    /// Carry what comes to this socket.
    Open(StdSocket),
    /// Close it, and say when it is closed.
    Close(oneshot::Sender<()>),
}

impl Line {
    /// A relay on SQLite in this folder, and a fine line to it.
    ///
    /// # Panics
    /// If that cannot be made. Whoever makes a network namespace is root, or is run by `unshare --map-root-user`.
    pub async fn to_relay_in(folder: &Path) -> Self {
        let (mode, seen) = watch::channel(Mode::Fine);
        let (orders, taken) = mpsc::channel(1);
        let (tell, told) = oneshot::channel();
        let folder = folder.to_owned();
        // The thread's sockets, and those of every thread that it starts, are in its network.
        std::thread::spawn(move || far_end(&folder, tell, seen, taken));
        let relay: String = told.await.expect("the relay starts");
        let (pin, _) = relay.split_once('@').expect("a pinned address");
        let socket = near_end(None);
        let own = socket.local_addr().expect("it is bound");
        let line = Self { address: format!("{pin}@{own}"), own, mode, orders };
        line.order(Order::Open(socket)).await;
        line
    }

    /// The relay's address by this line.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// From now on the line is like this. What is under way stays under way, unless the line is dead.
    ///
    /// # Panics
    /// If the port of a dead line was taken by somebody else meanwhile.
    pub async fn be(&self, mode: Mode) {
        let before = self.mode.send_replace(mode);
        if mode == Mode::Dead {
            let (closed, done) = oneshot::channel();
            self.order(Order::Close(closed)).await;
            done.await.expect("the line closes");
        } else if before == Mode::Dead {
            self.order(Order::Open(near_end(Some(self.own)))).await;
        }
    }

    async fn order(&self, order: Order) {
        assert!(self.orders.send(order).await.is_ok(), "the relay has ended");
    }
}

fn near_end(at: Option<SocketAddr>) -> StdSocket {
    let at = at.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let socket = StdSocket::bind(at).expect("loopback has the port");
    socket.set_nonblocking(true).expect("a socket need not block");
    socket
}

/// Runs the relay and the line in a network of their own.
fn far_end(
    folder: &Path,
    tell: oneshot::Sender<String>,
    mode: watch::Receiver<Mode>,
    mut orders: mpsc::Receiver<Order>,
) {
    unshare(CloneFlags::CLONE_NEWNET).expect("this makes a network namespace, and so runs as root");
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.is_ok_and(|status| status.success()), "the network has a loopback");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let relay = Relay::start(folder).await;
        let (_, host) = relay.address().split_once('@').expect("a pinned address");
        let at = host.parse().expect("host and port");
        tell.send(relay.address().to_owned()).expect("somebody waits");
        let mut tasks = JoinSet::new();
        while let Some(order) = orders.recv().await {
            match order {
                Order::Open(socket) => {
                    let socket = UdpSocket::from_std(socket).expect("a socket for this runtime");
                    tasks.spawn(carry(Arc::new(socket), at, mode.clone()));
                }
                Order::Close(closed) => {
                    tasks.shutdown().await;
                    // Who asked may have gone.
                    let _ = closed.send(());
                }
            }
        }
    });
}

/// Carries between the devices on one socket and the relay, with one socket for each device.
async fn carry(devices: Arc<UdpSocket>, relay: SocketAddr, mode: watch::Receiver<Mode>) {
    let mut ways: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut back = JoinSet::new();
    let mut packets = Packets::new(mode.clone());
    let mut buffer = vec![0; 65_536];
    loop {
        // A device that has gone is told of here; the others go on.
        let Ok((length, device)) = devices.recv_from(&mut buffer).await else { continue };
        let way = match ways.get(&device) {
            Some(way) => way.clone(),
            None => {
                let way = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).await.expect("loopback has a free port"));
                back.spawn(carry_back(way.clone(), devices.clone(), device, mode.clone()));
                ways.entry(device).or_insert(way).clone()
            }
        };
        packets.send(&buffer[..length], way, relay);
    }
}

async fn carry_back(way: Arc<UdpSocket>, devices: Arc<UdpSocket>, device: SocketAddr, mode: watch::Receiver<Mode>) {
    let mut packets = Packets::new(mode);
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, _)) = way.recv_from(&mut buffer).await else { continue };
        packets.send(&buffer[..length], devices.clone(), device);
    }
}

/// Packets under way in one direction.
struct Packets {
    mode: watch::Receiver<Mode>,
    under_way: JoinSet<()>,
}

impl Packets {
    fn new(mode: watch::Receiver<Mode>) -> Self {
        Self { mode, under_way: JoinSet::new() }
    }

    fn send(&mut self, packet: &[u8], socket: Arc<UdpSocket>, to: SocketAddr) {
        while self.under_way.try_join_next().is_some() {}
        let delay = match *self.mode.borrow() {
            Mode::Fine => Duration::ZERO,
            Mode::Slow(delay) => delay,
            Mode::Silent | Mode::Dead => return,
        };
        let packet = packet.to_vec();
        self.under_way.spawn(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            // A packet may get lost: that is what packets do.
            let _ = socket.send_to(&packet, to).await;
        });
    }
}

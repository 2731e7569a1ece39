//! A device that is a key, a chain and one stream: what a relay sees of a device, without the rest of it.

use std::time::{Duration, Instant};

use iroh::endpoint::{RecvStream, SendStream};
use iroh::{Endpoint, EndpointAddr};
use sync_core::membership::{Change, Membership, key_package};
use sync_relay::EXPORTER_LABEL;
use sync_rules::{SigningKey, attach, envelope, mls};
use sync_types::envelope::{Class, Envelope, Header};
use sync_types::frame::{
    self, Acknowledge, Attach, Attached, Commit, Create, Cut, Entry, EntryKind, FromRelay, Signature, ToRelay,
    WelcomeFor,
};
use sync_types::settings::Settings;
use sync_types::{Code, EntryHash, GroupId, Opaque, Suite, VERSION, encode};
use tokio::sync::mpsc;

use super::now_ms;
use crate::{Outcome, quic};

/// The bytes of an envelope's ciphertext: what a short blob takes.
pub(super) const SEALED: usize = 272;
/// The same of a large blob: what whoever is loud pushes at a time, and what fills a disk.
pub(super) const LARGE: usize = 60_000;

/// Who a device is, and how far its chain goes.
pub(super) struct Device {
    key: SigningKey,
    group: GroupId,
    epoch: u64,
    seq: u64,
    previous: EntryHash,
    /// Number and hash behind which the last envelope was sealed.
    before: (u64, EntryHash),
    /// Up to which cursor it has stored.
    pub(super) stored: u64,
}

/// A connection and its one stream.
pub(super) struct Session {
    connection: iroh::endpoint::Connection,
    send: SendStream,
    receive: Option<RecvStream>,
    exporter: [u8; 32],
}

/// Why there is no session.
pub(super) enum Ended {
    /// The relay said so, and for how long to wait at least.
    Refused(Code, Duration),
    /// The connection broke, or none came about.
    Lost,
}

pub(super) type Answer<T> = Result<T, Ended>;

impl Session {
    /// Connects from an endpoint, which may be used again when the session is over.
    pub(super) async fn connect(endpoint: &Endpoint, to: &EndpointAddr) -> Answer<Self> {
        let connection = quic::connect(endpoint, to.clone()).await.map_err(|_| Ended::Lost)?;
        let mut exporter = [0; 32];
        connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").map_err(|_| Ended::Lost)?;
        let (send, receive) = connection.open_bi().await.map_err(|_| Ended::Lost)?;
        Ok(Self { connection, send, receive: Some(receive), exporter })
    }

    /// Leaves.
    pub(super) fn end(self) {
        self.connection.close(0_u32.into(), b"");
    }

    pub(super) async fn send(&mut self, frame: &ToRelay) -> Answer<()> {
        self.send.write_all(&frame::write(frame)).await.map_err(|_| Ended::Lost)
    }

    /// All frames from now on; the last one is why there are no more. Afterwards nothing else reads them.
    pub(super) fn frames(&mut self) -> Outcome<mpsc::Receiver<Answer<FromRelay>>> {
        let mut receive = self.receive.take().ok_or("somebody reads the frames already")?;
        let (to, frames) = mpsc::channel(64);
        tokio::spawn(async move {
            loop {
                let frame = next(&mut receive).await;
                let last = frame.is_err();
                if to.send(frame).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(frames)
    }

    /// The next frame that is no refusal.
    pub(super) async fn frame(&mut self) -> Answer<FromRelay> {
        next(self.receive.as_mut().ok_or(Ended::Lost)?).await
    }
}

async fn next(from: &mut RecvStream) -> Answer<FromRelay> {
    let mut prefix = [0; 4];
    from.read_exact(&mut prefix).await.map_err(|_| Ended::Lost)?;
    let mut bytes = vec![0; frame::length(prefix).map_err(|_| Ended::Lost)?];
    from.read_exact(&mut bytes).await.map_err(|_| Ended::Lost)?;
    match frame::read(&bytes).map_err(|_| Ended::Lost)? {
        FromRelay::Refused(refused) => {
            Err(Ended::Refused(refused.code(), Duration::from_millis(refused.retry_after_ms.into())))
        }
        FromRelay::GoingAway(wait_ms) => Err(Ended::Refused(Code::Draining, Duration::from_millis(wait_ms.into()))),
        frame => Ok(frame),
    }
}

impl Session {
    /// The first frame of which `wanted` makes something.
    async fn expect<T>(&mut self, wanted: impl Fn(FromRelay) -> Option<T>) -> Answer<T> {
        loop {
            if let Some(found) = wanted(self.frame().await?) {
                return Ok(found);
            }
        }
    }

    /// The next entry of a kind, alone in its frame or with others.
    pub(super) async fn entry(&mut self, kind: EntryKind) -> Answer<Entry> {
        let of_kind = |frame| match frame {
            FromRelay::Deliver(entries) => entries.into_iter().find(|entry| entry.kind == kind),
            _ => None,
        };
        self.expect(of_kind).await
    }

    async fn accepted(&mut self, seq: u64) -> Answer<()> {
        self.expect(|frame| matches!(frame, FromRelay::Accepted(to) if to >= seq).then_some(())).await
    }

    pub(super) async fn acknowledge(&mut self, cursor: u64) -> Answer<()> {
        self.send(&ToRelay::Acknowledge(Acknowledge { cursor, statement: Opaque::default() })).await
    }
}

impl Device {
    fn new(group: GroupId) -> Outcome<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let key = SigningKey::from_seed(&seed);
        let previous = EntryHash::default();
        Ok(Self { key, group, epoch: 0, seq: 0, previous, before: (0, previous), stored: 0 })
    }

    fn request(&self, session: &Session) -> Attach {
        let proof = Signature(attach::prove(&self.key, self.group, &session.exporter));
        let device = self.key.device_id();
        Attach { version: VERSION, suite: Suite::FOUNDED as u8, group: self.group, device, stored: self.stored, proof }
    }

    pub(super) async fn attach(&self, session: &mut Session) -> Answer<Attached> {
        session.send(&ToRelay::Attach(self.request(session))).await?;
        let attached = |frame| match frame {
            FromRelay::Attached(attached) => Some(attached),
            _ => None,
        };
        session.expect(attached).await
    }

    /// The next envelope of its chain, with so much that nobody opens.
    pub(super) fn seal(&mut self, length: usize) -> Opaque {
        let header = Header {
            version: VERSION,
            suite: Suite::FOUNDED as u8,
            class: Class::Data,
            epoch: self.epoch,
            epoch_tag: [0; 8],
            sender: self.key.device_id(),
            seq: self.seq + 1,
            previous: self.previous,
            nonce: [0; 24],
        };
        let (header, ciphertext) = (encode(&header), vec![7; length]);
        let hash = envelope::ciphertext_hash(&ciphertext);
        let signature = envelope::sign_envelope(&self.key, &self.group, &header, &hash);
        self.before = (self.seq, self.previous);
        self.previous = envelope::entry_hash(&header, &hash, &signature);
        self.seq += 1;
        Opaque(Envelope::assemble(&header, &ciphertext, &signature))
    }

    /// Pushes one envelope; back when the relay has it. Of one that is refused, the next one takes the number.
    pub(super) async fn push(&mut self, session: &mut Session, length: usize) -> Answer<()> {
        let envelope = self.seal(length);
        session.send(&ToRelay::Push(vec![envelope])).await?;
        let accepted = session.accepted(self.seq).await;
        if matches!(accepted, Err(Ended::Refused(..))) {
            (self.seq, self.previous) = self.before;
        }
        accepted
    }
}

async fn open(relay: &EndpointAddr) -> Outcome<(Endpoint, Session)> {
    let endpoint = quic::endpoint().await?;
    let session = Session::connect(&endpoint, relay).await.map_err(Ended::into_error)?;
    Ok((endpoint, session))
}

/// Two devices in a group of their own, both attached, with nothing waiting, each with an endpoint of its own.
pub(super) async fn pair(relay: &EndpointAddr) -> Outcome<[(Device, Endpoint, Session); 2]> {
    let mut id = [0; 32];
    getrandom::fill(&mut id)?;
    let group = GroupId(id);
    let (mut first, mut second) = (Device::new(group)?, Device::new(group)?);
    let now = now_ms()?;
    let settings = Settings { app_id: b"org.example.herd".to_vec(), ..Settings::default() };
    let mut founder = Membership::create(mls::crypto(), Suite::FOUNDED, &first.key, group, &settings, now)?;
    let package = key_package(mls::crypto(), Suite::FOUNDED, &second.key, now)?;
    let info = founder.group_info()?;
    let made = founder.prepare(Change::Add(vec![package.message]), encode(&Cut::default()), None, now)?;
    let welcomes = made.welcomes.into_iter();
    let commit = Commit {
        commit: Opaque(made.commit),
        group_info: Opaque(made.group_info),
        welcomes: welcomes.map(|(device, welcome)| WelcomeFor { device, welcome: Opaque(welcome) }).collect(),
    };
    let ((near, mut one), (far, mut other)) = (open(relay).await?, open(relay).await?);
    let set_up = async {
        let attach = first.request(&one);
        one.send(&ToRelay::Create(Create { attach, group_info: Opaque(info), token: Opaque::default() })).await?;
        one.send(&ToRelay::Commit(commit)).await?;
        first.stored = one.entry(EntryKind::Commit).await?.cursor;
        one.acknowledge(first.stored).await?;
        second.attach(&mut other).await?;
        other.send(&ToRelay::WelcomeStored).await?;
        second.stored = other.entry(EntryKind::Commit).await?.cursor;
        other.acknowledge(second.stored).await?;
        other.send(&ToRelay::Push(vec![])).await?;
        other.accepted(0).await
    };
    set_up.await.map_err(Ended::into_error)?;
    (first.epoch, second.epoch) = (made.epoch, made.epoch);
    Ok([(first, near, one), (second, far, other)])
}

impl Ended {
    pub(super) fn into_error(self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::Refused(code, _) => format!("the relay refused: {code}").into(),
            Self::Lost => "the connection to the relay was lost".into(),
        }
    }
}

/// Waits as the client does: a draw from a window that doubles with each failure, and never shorter than the relay said.
pub(super) fn backoff(failures: u32, at_least: Duration) -> Outcome<Duration> {
    let window = 250_u64.saturating_mul(1 << failures.min(16)).min(60_000);
    let mut draw = [0; 8];
    getrandom::fill(&mut draw)?;
    Ok(at_least + Duration::from_millis(u64::from_le_bytes(draw) % (window + 1)))
}

/// Until when a connection is tried before the next wait.
pub(super) async fn within<T>(until: Instant, what: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(until.into(), what).await.ok()
}

//! Where all sessions meet: one task decides for all groups in the order in which requests came, makes what it decided
//! durable in one transaction for all that were waiting, and only then tells anybody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sync_rules::Observe;
use sync_sqlite::Forward;
use sync_types::frame::{About, Attach, Commit, CopyCommits, Head, Recovery, SealedSnapshot, Vouch};
use sync_types::{Code, DeviceId, GroupId, Opaque, WakeTarget};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::config::{Access, ServerLimits};
use crate::mailbox::{Kit, Limits, Proof, Refusal, Stated, Verified};
use crate::metrics::Metrics;
use crate::store::{Bytes, Store};

mod batch;
mod groups;
mod inbox;
mod made;
mod notices;
mod others;
mod served;
mod unwritten;
mod wake;
mod writer;

pub(crate) use inbox::{Event, Inbox};
pub(crate) use wake::{Wake, Whom};

/// A session's name within this process.
pub(crate) type SessionId = u64;

/// How many bytes of requests may wait for the writer, over all sessions, in units of [`UNIT`].
const BUDGET: usize = (256 << 20) / UNIT;
/// A unit of waiting bytes.
const UNIT: usize = 16 << 10;
/// How many units one session may have waiting: two of the largest frames.
const SESSION_BUDGET: usize = (8 << 20) / UNIT;

/// What the writer is asked.
pub(crate) struct Op {
    session: SessionId,
    request: Request,
    came: Instant,
    /// How often it was decided on rows that another relay had changed.
    tries: u8,
    /// Room among what waits; given back when the answer is out.
    _room: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

/// What a session asks.
#[derive(Debug)]
pub(crate) enum Request {
    /// To be attached.
    Attach { attach: Attach, proof: Proof, inbox: Arc<Inbox> },
    /// To make a group and be attached; `within` the relay's process or from beyond it.
    Create { attach: Attach, proof: Proof, group_info: Opaque, token: Opaque, within: bool, inbox: Arc<Inbox> },
    /// To take envelopes.
    Push(Verified),
    /// To move its cursor.
    Acknowledge(Stated),
    /// To order a commit.
    Commit(Box<Commit>),
    /// To follow commits that were ordered elsewhere.
    CopyCommits(Box<CopyCommits>),
    /// To undo the provisional commit.
    Reject(Opaque),
    /// To hand on its presence.
    Presence(Opaque),
    /// To forget its Welcome.
    WelcomeStored,
    /// To have the GroupInfo, and this member asked to renew its keys.
    GroupInfo(Option<DeviceId>),
    /// To have these ends of chains known.
    Heads(Vec<Head>),
    /// To keep its word for the group's state.
    Vouch(Vouch),
    /// To leave a snapshot for whoever comes with the recovery kit.
    KeepSnapshot(Box<SealedSnapshot>),
    /// To be woken there, or nowhere.
    SetWake(Option<Box<WakeTarget>>),
    /// With a recovery kit: to have what a recovery of this group is made from.
    Recover { group: GroupId, kit: Kit, inbox: Arc<Inbox> },
    /// With a recovery kit: to come in, and put everybody else out.
    Recovery { group: GroupId, kit: Kit, recovery: Box<Recovery>, inbox: Arc<Inbox> },
    /// The host: to delete everything of this group.
    Purge { group: GroupId, done: oneshot::Sender<Result<(), Refusal>> },
    /// To know whether this is a member's proof, and for whom the group's content is kept.
    Readers { attach: Attach, proof: Proof, done: oneshot::Sender<Result<BTreeSet<DeviceId>, Refusal>> },
    /// Nobody's request: a push service does not know this target of a device any more.
    WakeGone { group: GroupId, device: DeviceId, target: Bytes },
    /// It is gone.
    Detach,
    /// Nobody's request: something is due in this group.
    Timeout(GroupId),
    /// Nobody's request: another relay has done something in a group, which those that are attached here are told.
    Elsewhere,
}

/// The hub's front.
pub(crate) struct Hub {
    ops: mpsc::Sender<Op>,
    stop: mpsc::Sender<oneshot::Sender<()>>,
    room: Arc<Semaphore>,
    sessions: AtomicU64,
}

/// What the writer works with.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) observe: Arc<dyn Observe>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Access,
    pub(crate) limits: ServerLimits,
    pub(crate) quotas: Limits,
    pub(crate) forward: Forward,
    /// `None`: devices are not woken.
    pub(crate) waker: Option<Arc<dyn Wake>>,
}

/// One session's way to the hub. Dropping it detaches the session.
pub(crate) struct Line {
    hub: Arc<Hub>,
    id: SessionId,
    inbox: Arc<Inbox>,
    room: Arc<Semaphore>,
    attached: bool,
}

impl Hub {
    /// Starts the writer.
    pub(crate) fn start(parts: Parts) -> Arc<Self> {
        let (ops, waiting) = mpsc::channel(parts.limits.queue.max(1));
        let (stop, stopped) = mpsc::channel(1);
        tokio::spawn(writer::Writer::new(parts).run(waiting, stopped));
        Arc::new(Self { ops, stop, room: Arc::new(Semaphore::new(BUDGET)), sessions: AtomicU64::new(1) })
    }

    /// A line for a new session, which is answered through this inbox.
    pub(crate) fn line(self: &Arc<Self>, inbox: Arc<Inbox>) -> Line {
        Line {
            inbox,
            hub: self.clone(),
            id: self.sessions.fetch_add(1, Ordering::Relaxed),
            room: Arc::new(Semaphore::new(SESSION_BUDGET)),
            attached: false,
        }
    }

    /// Deletes everything of a group and ends its sessions. `UNKNOWN_GROUP` if there is none; `DRAINING` when the hub has
    /// stopped.
    pub(crate) async fn purge(&self, group: GroupId) -> Result<(), Refusal> {
        let stopped = || Refusal::new(About::Session, Code::Draining, "the relay is stopping");
        let (done, when_done) = oneshot::channel();
        let op = Op::by_itself(Request::Purge { group, done });
        self.ops.send(op).await.map_err(|_| stopped())?;
        when_done.await.map_err(|_| stopped())?
    }

    /// Who of a group may have its content, for a member that proves to be one; see
    /// [`crate::mailbox::GroupState::readers`]. `UNKNOWN_GROUP` if there is none; `DRAINING` when the hub has stopped.
    pub(crate) async fn readers(&self, attach: Attach, proof: Proof) -> Result<BTreeSet<DeviceId>, Refusal> {
        let stopped = || Refusal::new(About::Session, Code::Draining, "the relay is stopping");
        let (done, when_done) = oneshot::channel();
        let op = Op::by_itself(Request::Readers { attach, proof, done });
        self.ops.send(op).await.map_err(|_| stopped())?;
        when_done.await.map_err(|_| stopped())?
    }

    /// Forgets where a device was woken: the push service does not know that any more. Waits for nothing.
    pub(crate) async fn wake_gone(&self, (group, device): Whom, target: Bytes) {
        // A hub that has stopped has nothing to forget it in.
        let _ = self.ops.send(Op::by_itself(Request::WakeGone { group, device, target })).await;
    }

    /// How many requests wait for the writer, and about how many bytes they have.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        let requests = self.ops.max_capacity() - self.ops.capacity();
        (requests as u64, ((BUDGET - self.room.available_permits().min(BUDGET)) * UNIT) as u64)
    }

    /// Finishes what was asked, ends all sessions and stops. Later requests are dropped.
    pub(crate) async fn stop(&self) {
        let (done, when_done) = oneshot::channel();
        if self.stop.send(done).await.is_ok() {
            let _ = when_done.await;
        }
    }
}

impl Line {
    /// Asks; waits while too much is waiting already. The answer comes through the inbox. False when the hub has stopped.
    pub(crate) async fn ask(&mut self, request: Request) -> bool {
        let units = u32::try_from(request.weight() / UNIT + 1).unwrap_or(u32::MAX).min(SESSION_BUDGET as u32);
        let Ok(own) = self.room.clone().acquire_many_owned(units).await else { return false };
        let Ok(all) = self.hub.room.clone().acquire_many_owned(units).await else { return false };
        self.attached |= matches!(request, Request::Attach { .. } | Request::Create { .. });
        let op = Op { session: self.id, request, came: Instant::now(), tries: 0, _room: Some((own, all)) };
        self.hub.ops.send(op).await.is_ok()
    }
}

impl Line {
    /// The session's name.
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Waits until everything that was asked is answered.
    pub(crate) async fn settled(&self) {
        let _ = self.room.acquire_many(SESSION_BUDGET as u32).await;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Before the word to detach: one that comes while the group is being loaded finds nobody to detach, and then the
        // closed inbox is what keeps the session from being attached afterwards.
        self.inbox.close();
        if !self.attached {
            return;
        }
        let op = Op { session: self.id, request: Request::Detach, came: Instant::now(), tries: 0, _room: None };
        if let Err(mpsc::error::TrySendError::Full(op)) = self.hub.ops.try_send(op) {
            let ops = self.hub.ops.clone();
            // Only within a runtime can the queue be full of others' requests.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move {
                    let _ = ops.send(op).await;
                });
            }
        }
    }
}

impl Op {
    /// What nobody asked for.
    fn by_itself(request: Request) -> Self {
        Self { session: 0, request, came: Instant::now(), tries: 0, _room: None }
    }
}

impl Request {
    fn weight(&self) -> usize {
        match self {
            Self::Push(envelopes) => envelopes.weight(),
            Self::Create { group_info, .. } => group_info.len(),
            Self::Commit(commit) => commit_weight(commit),
            Self::Recovery { recovery, .. } => commit_weight(&recovery.join) + commit_weight(&recovery.removal),
            Self::CopyCommits(copied) => {
                copied.commits.iter().map(|c| c.len()).sum::<usize>()
                    + copied.group_info.len()
                    + copied.welcomes.iter().map(|w| w.welcome.len()).sum::<usize>()
            }
            Self::Reject(bytes) | Self::Presence(bytes) => bytes.len(),
            Self::KeepSnapshot(snapshot) => snapshot.sealed.len(),
            Self::Acknowledge(request) => request.weight(),
            Self::Attach { .. }
            | Self::WelcomeStored
            | Self::GroupInfo(_)
            | Self::Heads(_)
            | Self::Vouch(_)
            | Self::SetWake(_)
            | Self::WakeGone { .. }
            | Self::Recover { .. }
            | Self::Purge { .. }
            | Self::Readers { .. }
            | Self::Detach
            | Self::Timeout(_)
            | Self::Elsewhere => 0,
        }
    }
}

fn commit_weight(commit: &Commit) -> usize {
    commit.commit.len() + commit.group_info.len() + commit.welcomes.iter().map(|w| w.welcome.len()).sum::<usize>()
}

/// Milliseconds since the Unix epoch: the relay's one clock.
#[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

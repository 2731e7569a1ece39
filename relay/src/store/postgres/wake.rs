//! How relays over one database hear of each other: NOTIFY in the transaction that writes, and behind it a look at what has
//! changed, now and then and whenever the listening connection was lost.
//!
//! LISTEN, prepared statements and settings belong to a session: the URL has to lead to PostgreSQL itself, or to a pooler that
//! gives each client a server connection for as long as it is there (PgBouncer's `pool_mode = session`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sync_types::{DeviceId, GroupId};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

use super::known::Known;
use super::payload::{self, Payload};
use super::{ACQUIRE, texts};
use crate::store::{Heard, News, columns};

/// What relays listen to.
pub(super) const CHANNEL: &str = "ksync_relay";
/// How often a relay says that it lives, and looks what it may have missed. Others take it for dead after three times that.
const BEAT: Duration = Duration::from_secs(30);
/// When to try again what failed.
const AGAIN: Duration = Duration::from_secs(1);
/// How many presences and requests to renew keys wait to be told; they are worth nothing later.
const LIVE: usize = 1_024;

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Who has attached, under which number, or detached since it was last written; the later of two counts.
    attached: Attachments,
    live: VecDeque<News>,
}

type Attachments = BTreeMap<(GroupId, DeviceId), Option<u64>>;

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, news: News) {
        let mut waiting = self.waiting();
        match news {
            News::Attached { group, device, number } => {
                waiting.attached.insert((group, device), Some(number));
            }
            News::Detached(group, device) => {
                waiting.attached.insert((group, device), None);
            }
            News::Presence { .. } | News::Renew(..) => {
                if waiting.live.len() < LIVE {
                    waiting.live.push_back(news);
                }
            }
        }
        drop(waiting);
        self.wake.notify_one();
    }

    fn take(&self) -> (Attachments, VecDeque<News>) {
        let mut waiting = self.waiting();
        (std::mem::take(&mut waiting.attached), std::mem::take(&mut waiting.live))
    }

    /// What was taken could not be written: it is to be written again, unless it is over already.
    fn put_back(&self, attached: Attachments) {
        let mut waiting = self.waiting();
        for (who, number) in attached {
            waiting.attached.entry(who).or_insert(number);
        }
    }
}

/// Says what is to be told, and that this node lives. Ends with the store.
pub(super) async fn speak(pool: PgPool, node: i64, outbox: Arc<Outbox>, to: mpsc::Sender<Heard>) {
    let mut beat_at = Instant::now() + BEAT;
    loop {
        tokio::select! {
            () = outbox.wake.notified() => {}
            () = sleep_until(beat_at) => {
                beat_at = Instant::now() + BEAT;
                if let Err(error) = beat(&pool, node).await {
                    tracing::warn!(%error, "the database does not hear that this relay lives");
                }
                if to.send(Heard::Look).await.is_err() {
                    return;
                }
            }
        }
        let (attached, live) = outbox.take();
        if attached.is_empty() && live.is_empty() {
            continue;
        }
        if let Err(error) = say(&pool, node, &attached, &live).await {
            outbox.put_back(attached);
            tracing::warn!(%error, "the database does not take who is attached here");
            sleep(AGAIN).await;
            outbox.wake.notify_one();
        }
    }
}

/// Says that this node lives.
pub(super) async fn beat(pool: &PgPool, node: i64) -> Result<(), sqlx::Error> {
    sqlx::query(texts::LIVES).bind(node).execute(pool).await?;
    for text in [texts::BURY_OLD, texts::BURY_PAIRINGS, texts::BURY_LETTERS] {
        sqlx::query(text).execute(pool).await?;
    }
    Ok(())
}

async fn say(pool: &PgPool, node: i64, attached: &Attachments, live: &VecDeque<News>) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let come = attached.iter().filter_map(|(whom, number)| Some((whom, (*number)?)));
    let (come, numbers): (Vec<_>, Vec<_>) = come.map(|(whom, number)| (whom, columns::number(number))).unzip();
    let gone: Vec<_> = attached.iter().filter(|(_, number)| number.is_none()).map(|(whom, _)| whom).collect();
    if !come.is_empty() {
        let (groups, devices) = columns_of(&come);
        let attach = sqlx::query(texts::ATTACH).bind(groups).bind(devices).bind(node).bind(numbers);
        attach.execute(&mut *transaction).await?;
    }
    if !gone.is_empty() {
        let (groups, devices) = columns_of(&gone);
        sqlx::query(texts::DETACH).bind(groups).bind(devices).bind(node).execute(&mut *transaction).await?;
    }
    let changed = attached.iter().map(|((group, device), number)| match number {
        Some(number) => News::Attached { group: *group, device: *device, number: *number },
        None => News::Detached(*group, *device),
    });
    let payloads = changed.chain(live.iter().cloned()).filter_map(|news| payload::of_news(node, &news));
    notify(&mut transaction, payloads.collect()).await?;
    transaction.commit().await
}

/// Groups and devices, as arrays of the same length.
fn columns_of<'a>(whom: &[&'a (GroupId, DeviceId)]) -> (Vec<&'a [u8]>, Vec<&'a [u8]>) {
    whom.iter().map(|(group, device)| (&group.0[..], &device.0[..])).unzip()
}

/// Tells all relays once the transaction is durable.
pub(super) async fn notify(on: &mut sqlx::PgConnection, payloads: Vec<String>) -> Result<(), sqlx::Error> {
    if payloads.is_empty() {
        return Ok(());
    }
    sqlx::query(texts::NOTIFY).bind(CHANNEL).bind(payloads).execute(on).await.map(drop)
}

/// What listening takes.
pub(super) struct Ear {
    pub(super) options: PgConnectOptions,
    pub(super) node: i64,
    pub(super) known: Arc<Known>,
    pub(super) to: mpsc::Sender<Heard>,
    /// Set off when there may be letters, or a relay has stopped.
    pub(super) post: Arc<Notify>,
}

/// Listens on a connection of its own. Ends with the store.
pub(super) async fn listen(ear: Ear) {
    loop {
        match listen_once(&ear).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "other relays are not heard, but looked at now and then"),
        }
        sleep(AGAIN).await;
    }
}

/// Until the connection fails, or nobody listens any more.
async fn listen_once(ear: &Ear) -> Result<(), sqlx::Error> {
    let Ear { options, node, known, to, post } = ear;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    // What was said before nobody has heard here.
    let mut heard = vec![Heard::Look];
    post.notify_one();
    loop {
        for heard in heard.drain(..) {
            if to.send(heard).await.is_err() {
                return Ok(());
            }
        }
        let Some(notification) = listener.try_recv().await? else {
            heard.push(Heard::Look);
            post.notify_one();
            continue;
        };
        match payload::read(*node, notification.payload()) {
            Some(Payload::Revision(revision, groups)) => {
                // What was loaded in the meantime is no news.
                let news = groups.into_iter().filter(|group| known.of(*group) != Some(revision));
                heard.extend(news.map(Heard::Group));
            }
            Some(Payload::News(news)) => heard.push(Heard::News(news)),
            Some(Payload::Letters(to)) if to != *node => {}
            Some(Payload::Letters(_) | Payload::Bye) => post.notify_one(),
            None => {}
        }
    }
}

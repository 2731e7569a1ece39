//! The handle that an app holds.

mod lifecycle;
mod push;
mod relays;
mod suite;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sync_core::recovery::RecoveryKit;
use sync_types::content::RESERVED_CHANNELS;
use sync_types::link::Side;
use sync_types::{BlobId, Code, DeviceId, GroupId, Invitation, RelayAddress, limits};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::engine::{self, Command, Snapshot, Start};
use crate::files::Porter;
use crate::home::Home;
use crate::pairing;
use crate::recovery::Recovery;
use crate::store::{LogReader, OwnBlob, Wanted};
use crate::subscribe::{self, Subscription, SubscriptionTask};
use crate::transport::Pending;
use crate::{
    Alert, ClientEvent, DeviceInfo, Finding, InviteOptions, Pairing, Receipt, ReceiptState, ReceivedBlob, Recovered,
    RecoveryWords, StartAt, Status, SyncConfig, SyncError, VaultKind, vault::Passphrase,
};

/// A device of a group. Cheap to clone; the last clone that is dropped stops the engine, and [`SyncClient::close`] lets
/// it send what waits first.
#[derive(Clone)]
pub struct SyncClient {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) snapshot: watch::Receiver<Snapshot>,
    pub(crate) events: broadcast::Sender<ClientEvent>,
    pub(crate) reader: LogReader,
    pub(crate) start: Arc<Start>,
    pub(crate) porter: Porter,
    /// Held while a backup comes in: what is staged is one backup's.
    pub(crate) importing: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for SyncClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncClient").finish_non_exhaustive()
    }
}

impl SyncClient {
    /// Opens the device in the configuration's home, and makes one if there is none. Founds no group and connects to
    /// nothing as long as there is no group.
    ///
    /// # Errors
    /// [`Code::HomeBusy`] while another process uses the home; [`Code::StoreCorrupt`], [`Code::Version`],
    /// [`Code::DiskFull`] or [`Code::Io`] for its files; [`Code::InvalidArgument`] for the configuration. What keeps its vault
    /// shut: [`Code::PassphraseNeeded`], [`Code::WrongPassphrase`], [`Code::VaultDamaged`], [`Code::VaultParameters`],
    /// [`Code::VaultNewer`], [`Code::KeychainMissing`], [`Code::KeychainLocked`], [`Code::KeychainEntryGone`]; nothing is changed
    /// then, and [`SyncClient::reset`] works.
    pub async fn new(config: SyncConfig) -> Result<Self, SyncError> {
        config.check()?;
        let home = Home::take(&config.home_path()?)?;
        // Of no named type: it is nested deeper than the compiler follows where an app's own futures come on top.
        let starting: Pending<'_, _> = Box::pin(engine::start(home, config));
        Ok(Self { inner: Arc::new(starting.await?) })
    }

    /// Whether a device has been made in this home.
    pub fn is_initialized(home: &Path) -> bool {
        home.join(crate::home::DATABASE).exists()
    }

    /// Deletes the device in the configuration's home: its keys, its log and what its embedded relay keeps. The other
    /// members still list it until one of them removes it. Works on a damaged home too, and on one whose vault stays shut.
    ///
    /// # Errors
    /// [`Code::HomeBusy`] while another process uses the home; [`Code::Io`].
    pub async fn reset(config: &SyncConfig) -> Result<(), SyncError> {
        let home = Home::take(&config.home_path()?)?;
        crate::vault::forget(&home).await;
        home.clear()
    }

    /// How far a blob that was pushed here has come.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] if no such blob was pushed on this device.
    pub async fn receipt_state(&self, id: BlobId) -> Result<ReceiptState, SyncError> {
        let blob = self.own(id).await?;
        Ok(self.inner.snapshot.borrow().state_of(blob))
    }

    /// Waits until a pushed blob is in this state or further.
    ///
    /// # Errors
    /// [`Code::Timeout`]; [`Code::Closed`]; else as [`SyncClient::receipt_state`].
    pub async fn wait(&self, receipt: &Receipt, state: ReceiptState, timeout: Duration) -> Result<(), SyncError> {
        let until = Instant::now() + timeout;
        let mut snapshot = self.inner.snapshot.clone();
        // A blob's number changes only when it is sealed, and when this device becomes another: in another group, or under
        // another key.
        let (mut blob, mut was) = (OwnBlob::Waits, None);
        loop {
            let now = snapshot.borrow_and_update().clone();
            let is = (now.group, now.device);
            if matches!(blob, OwnBlob::Waits | OwnBlob::Carried(_)) || was != Some(is) {
                let known = now.sealed.filter(|(id, _)| *id == receipt.id);
                blob = match known {
                    Some((_, seq)) => OwnBlob::Sealed(seq),
                    None => self.own(receipt.id).await?,
                };
                was = Some(is);
            }
            if now.state_of(blob) >= state {
                return Ok(());
            }
            if now.closed {
                return Err(SyncError::closed());
            }
            match timeout_at(until, snapshot.changed()).await {
                Err(_) => return Err(SyncError::timeout(&format!("getting to the state {}", state.as_str()))),
                Ok(changed) => changed.map_err(|_| SyncError::closed())?,
            }
        }
    }

    /// What others pushed and this consumer has not had, in the order of positions: at most `limit` blobs, and 8 MiB or one blob.
    /// What is behind a blob of more than [`limits::BLOB_BYTES`] waits until its bytes are here.
    /// Reading moves nothing: [`SyncClient::advance`] does.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`], [`Code::StoreCorrupt`], [`Code::Io`].
    pub async fn read(
        &self,
        consumer: &str,
        channel: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ReceivedBlob>, SyncError> {
        channel.map_or(Ok(()), check_channel)?;
        let (unread_by, channel) = (Some(consumer.to_owned()), channel.map(str::to_owned));
        self.inner.read(&Wanted { channel, unread_by, own: false }, 0, limit).await
    }

    /// Notes durably that a consumer has had all blobs of the channel, or of every channel, up to this position.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`], [`Code::DiskFull`], [`Code::Io`], [`Code::Closed`].
    pub async fn advance(&self, consumer: &str, channel: Option<&str>, position: u64) -> Result<(), SyncError> {
        check_length("consumer", consumer)?;
        channel.map_or(Ok(()), check_channel)?;
        let (consumer, channel) = (consumer.to_owned(), channel.map(str::to_owned));
        self.ask(|reply| Command::Advance { consumer, channel, position, reply }).await
    }

    /// Up to which position of the log a consumer has had a channel; 0 if it has had nothing.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`], [`Code::StoreCorrupt`], [`Code::Io`].
    pub async fn position(&self, consumer: &str, channel: &str) -> Result<u64, SyncError> {
        check_channel(channel)?;
        self.inner.reader.position(consumer, channel).await
    }

    /// A stream of what others push, for a consumer that says itself what it has had: at least once, in order.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a consumer or a channel beyond [`limits::CHANNEL_BYTES`].
    pub fn subscribe(&self, consumer: &str, channel: Option<&str>, from: StartAt) -> Result<Subscription, SyncError> {
        check_length("consumer", consumer)?;
        channel.map_or(Ok(()), check_channel)?;
        Ok(Subscription::new(self.clone(), consumer, channel, from))
    }

    /// Hands each blob that others push to a handler. The consumer's position moves when the handler returns `Ok`; on an
    /// error the same blob comes again after a while, and [`ClientEvent::HandlerFailed`] says so. Ends when the returned
    /// value is dropped.
    ///
    /// # Errors
    /// As [`SyncClient::subscribe`].
    pub fn subscribe_with<H, F, E>(
        &self,
        consumer: &str,
        channel: Option<&str>,
        from: StartAt,
        handler: H,
    ) -> Result<SubscriptionTask, SyncError>
    where
        H: FnMut(ReceivedBlob) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Send + 'static,
    {
        Ok(subscribe::spawn(self.subscribe(consumer, channel, from)?, handler))
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        Events { receiver: self.inner.events.subscribe() }
    }

    /// How things stand.
    ///
    /// # Errors
    /// [`Code::Closed`]; [`Code::StoreCorrupt`] and [`Code::Io`] if the log cannot be read.
    pub async fn status(&self) -> Result<Status, SyncError> {
        let mut status = self.ask(|reply| Command::Status { reply }).await?;
        let (accepted, delivered) = {
            let now = self.inner.snapshot.borrow();
            (now.accepted, now.delivered)
        };
        let counts = self.inner.reader.counts(accepted, delivered).await?;
        (status.outbox, status.unacknowledged) = (counts.outbox, counts.unacknowledged);
        status.vault = self.vault().await;
        Ok(status)
    }

    /// What a person has to know about why it is or is not syncing, most important first.
    ///
    /// # Errors
    /// As [`SyncClient::status`].
    pub async fn doctor(&self) -> Result<Vec<Finding>, SyncError> {
        let status = self.status().await?;
        let refused = self.inner.reader.refused().await?;
        let devices = refused.iter().filter_map(|kept| kept.sender).collect();
        let names = self.ask(|reply| Command::Names { devices, reply }).await?;
        Ok(crate::doctor::findings(&status, &refused, &names, self.inner.start.now_ms()))
    }

    /// Where the key lies that seals this home's data.
    pub async fn vault(&self) -> VaultKind {
        self.inner.start.vault.kind().await
    }

    /// Puts the key that seals this home's data somewhere else, or under another passphrase. No data is written anew: the key
    /// stays, and what opens it changes. A crash in between leaves what was before.
    ///
    /// # Errors
    /// Nothing is changed on an error. [`Code::PassphraseNeeded`] if a passphrase is to lock it and none is given;
    /// [`Code::InvalidArgument`] for one of less than [`limits::PASSPHRASE_CHARS`]; [`Code::KeychainMissing`],
    /// [`Code::KeychainLocked`]; [`Code::Closed`]; [`Code::DiskFull`], [`Code::Io`].
    pub async fn set_vault(&self, kind: VaultKind, passphrase: Option<&Passphrase>) -> Result<(), SyncError> {
        if self.is_closed() {
            return Err(SyncError::closed());
        }
        self.inner.start.vault.move_to(&self.inner.start.home, kind, passphrase).await
    }

    /// What a person should hear of and may have missed, newest first: devices that were linked, removed, replaced, and
    /// whatever shows that the relay or a device is faulty or hostile. [`ClientEvent::Alert`] tells of each as it comes. At
    /// most 1,000 changes and 1,000 warnings are kept. They go with the group, but for the word that it is gone.
    ///
    /// # Errors
    /// [`Code::StoreCorrupt`], [`Code::Io`].
    pub async fn alerts(&self) -> Result<Vec<Alert>, SyncError> {
        self.inner.reader.alerts().await
    }

    /// Notes that a person has seen the alerts up to a number. Durable when this returns.
    ///
    /// # Errors
    /// [`Code::DiskFull`], [`Code::Io`], [`Code::Closed`].
    pub async fn alerts_seen(&self, up_to: u64) -> Result<(), SyncError> {
        self.ask(|reply| Command::AlertsSeen { up_to, reply }).await
    }

    /// The members of the group, this device first; none before there is a group.
    ///
    /// # Errors
    /// [`Code::Closed`].
    pub async fn devices(&self) -> Result<Vec<DeviceInfo>, SyncError> {
        Ok(self.ask(|reply| Command::Status { reply }).await?.devices)
    }

    /// Founds a group of its own, if this device is in none, and tells which group it is in and as what.
    ///
    /// # Errors
    /// [`Code::DiskFull`], [`Code::Io`]; for an embedded relay [`Code::PortInUse`].
    pub async fn ensure_group(&self) -> Result<(GroupId, DeviceId), SyncError> {
        self.ask(|reply| Command::Found { reply }).await
    }

    /// Puts a device out of the group. Durable when this returns; [`ClientEvent::DeviceRemoved`] tells when it is done:
    /// from then on it can neither read what is pushed nor push.
    ///
    /// # Errors
    /// [`Code::UnknownDevice`], [`Code::NotInGroup`], [`Code::InvalidArgument`] for this device itself.
    pub async fn remove_device(&self, device: DeviceId) -> Result<(), SyncError> {
        self.ask(|reply| Command::Remove { device, lost: false, reply }).await
    }

    /// The same for a device that is lost or stolen: besides, when it next connects it deletes its keys and the blobs that it
    /// holds, and tells its app ([`ClientEvent::Removed`]). Whoever keeps it from connecting keeps what it had.
    ///
    /// # Errors
    /// As [`SyncClient::remove_device`].
    pub async fn remove_lost_device(&self, device: DeviceId) -> Result<(), SyncError> {
        self.ask(|reply| Command::Remove { device, lost: true, reply }).await
    }

    /// Tells the devices that are connected now something that is never stored, at most [`limits::PRESENCE_BYTES`];
    /// empty means gone.
    ///
    /// # Errors
    /// [`Code::NotInGroup`], [`Code::RelayUnreachable`] while not connected, [`Code::InvalidArgument`].
    pub async fn presence_set(&self, channel: &str, data: impl Into<Vec<u8>>) -> Result<(), SyncError> {
        check_channel(channel)?;
        let (channel, data) = (channel.to_owned(), data.into());
        if data.len() > limits::PRESENCE_BYTES {
            return Err(SyncError::new(Code::TooLarge, "presence has at most 1,024 bytes"));
        }
        self.ask(|reply| Command::Presence { channel, data, reply }).await
    }

    /// Member: shows a link for a newcomer to [`SyncClient::join`], and a short code where the newcomer will be configured
    /// with the same relay. Founds a group if this device is in none.
    ///
    /// # Errors
    /// [`Code::RelayUnreachable`] and what else keeps from the relay; [`Code::Removed`]; [`Code::Asleep`]. [`Code::CodeNeedsRelay`] if
    /// [`InviteOptions::needs_code`] is set on a device that hosts its group's relay itself, [`Code::CodeNotApproved`] if it is
    /// set in a group of suite 2.
    pub async fn invite(&self, options: InviteOptions) -> Result<Pairing, SyncError> {
        let place = self.ask(|reply| Command::Meet { reply }).await?;
        Pairing::show(self.inner.clone(), Side::Member, place, options).await
    }

    /// Member: takes the link or the short code that a newcomer shows ([`SyncClient::join_show`]).
    ///
    /// # Errors
    /// [`Code::Suite`] for the link of a device that would found groups of another suite than this one's group is of: let this
    /// device show the link then. [`Code::LinkInvalid`], [`Code::CodeInvalid`], [`Code::WrongApp`], [`Code::WrongSide`], [`Code::PairingExpired`];
    /// for a code as [`SyncClient::join`]; else as [`SyncClient::invite`].
    pub async fn take(&self, invitation: &str) -> Result<Pairing, SyncError> {
        let invitation = pairing::read(invitation)?;
        let place = self.ask(|reply| Command::Meet { reply }).await?;
        Pairing::take(self.inner.clone(), Side::Member, invitation, place).await
    }

    /// Newcomer: takes the link or the short code that a member shows. A link says where the relay is; a code is looked for at
    /// the relay that this device is configured with. A group of its own is given up, and its blobs come along.
    ///
    /// # Errors
    /// [`Code::AlreadyInGroup`] if this device shares a group; [`Code::LinkInvalid`], [`Code::CodeInvalid`],
    /// [`Code::WrongApp`], [`Code::WrongSide`]; what keeps from the relay. For a code also [`Code::CodeNeedsRelay`] if the
    /// relay is `embedded`, [`Code::NoSuchPairing`] if nobody shows that number, [`Code::PairingUsed`] if somebody was there
    /// before, and [`Code::TooManyTries`]. That its words are wrong comes as [`PairingEvent::Failed`](crate::PairingEvent)
    /// with [`Code::WrongCode`]; then the code is worth nothing any more.
    pub async fn join(&self, invitation: &str, name: Option<&str>) -> Result<Pairing, SyncError> {
        let invitation = pairing::read(invitation)?;
        let place = self.newcomers_place(name).await?;
        Pairing::take(self.inner.clone(), Side::Newcomer, invitation, place).await
    }

    /// Newcomer: shows a link and a short code for a member to [`SyncClient::take`], at this relay.
    ///
    /// # Errors
    /// As [`SyncClient::join`]; [`Code::AddressInvalid`] for an `embedded` relay, which a newcomer has none of;
    /// [`Code::AccessDenied`] for one that another device hosts, where only members show links.
    pub async fn join_show(&self, relay: &RelayAddress, name: Option<&str>) -> Result<Pairing, SyncError> {
        let place = self.newcomers_place(name).await?;
        let codes = match place.codes {
            engine::Codes::NotApproved => engine::Codes::NotApproved,
            _ => engine::Codes::Always,
        };
        let place = engine::MeetingPlace { relay: relay.clone(), codes, ..place };
        Pairing::show(self.inner.clone(), Side::Newcomer, place, InviteOptions::default()).await
    }

    /// Whether this device may join a group now, and with this link or short code, if there is one already: for an app that
    /// asks a person before it begins.
    ///
    /// # Errors
    /// [`Code::LinkInvalid`], [`Code::CodeInvalid`], [`Code::CodeNeedsRelay`]; [`Code::AlreadyInGroup`]; [`Code::Closed`].
    pub async fn may_join(&self, invitation: Option<&str>) -> Result<(), SyncError> {
        let invitation = invitation.map(pairing::read).transpose()?;
        let place = self.ask(|reply| Command::MayJoin { reply }).await?;
        match invitation {
            Some(Invitation::Code(_)) => pairing::check_codes(place.codes),
            _ => Ok(()),
        }
    }

    async fn newcomers_place(&self, name: Option<&str>) -> Result<engine::MeetingPlace, SyncError> {
        if let Some(name) = name {
            sync_core::pairing::check_name(name).map_err(|e| SyncError::new(Code::InvalidArgument, e))?;
        }
        let own = self.ask(|reply| Command::MayJoin { reply }).await?;
        Ok(engine::MeetingPlace { name: name.map_or(own.name, str::to_owned), ..own })
    }

    /// Makes a recovery kit: 24 words that lead back into the group although every device of it is lost. To be shown to the
    /// person once; nothing keeps them. Founds a group if this device is in none. A group that has a kit gets this one in its
    /// place: the words before are worth nothing from then on. Answers once the group has it, for which this device has to be
    /// connected; a group that is founded now has it at once. Every device is told ([`ClientEvent::SettingsChanged`]).
    ///
    /// # Errors
    /// [`Code::KitNeedsRelay`] if a device hosts the group's relay; [`Code::RelayUnreachable`] while not connected;
    /// [`Code::CommitRejected`] if the group does not take it; [`Code::Removed`]; [`Code::DiskFull`], [`Code::Io`]. Whoever
    /// stops waiting makes another one: this one may still come into force.
    pub async fn make_recovery_kit(&self) -> Result<RecoveryWords, SyncError> {
        self.ask(|reply| Command::MakeKit { reply }).await
    }

    /// Comes back into a group by its recovery kit, at the relay that stands beside the words. All other devices of the group
    /// are removed, and told why. A group of its own is given up, and its blobs come along. Nothing is changed on an error,
    /// but for [`Code::Timeout`] and [`Code::RelayUnreachable`]: then it may be done, and the same call again is good.
    ///
    /// # Errors
    /// [`Code::KitInvalid`] if the words are none; [`Code::KitUnknown`] if the relay knows no group of theirs, and
    /// [`Code::KitReplaced`] if that has newer ones; [`Code::KitForged`] if no member vouches for what the relay shows;
    /// [`Code::WrongApp`]; [`Code::AlreadyInGroup`] if this device shares a group; [`Code::KitNeedsRelay`] for `embedded`;
    /// what keeps from the relay.
    pub async fn recover(
        &self,
        words: &str,
        relay: &RelayAddress,
        name: Option<&str>,
        timeout: Duration,
    ) -> Result<Recovered, SyncError> {
        let kit = RecoveryKit::from_words(words).map_err(|e| SyncError::new(e.code(), e.to_string()))?;
        if relay.is_members() {
            return Err(SyncError::new(Code::KitNeedsRelay, "a relay that a device hosts is lost with that device"));
        }
        let place = self.newcomers_place(name).await?;
        Recovery::new(self.inner.clone(), kit, relay, &place.name).run(timeout).await
    }

    /// Leaves the group: asks the others to remove this device, waits a few seconds for one that does, then deletes the
    /// group's keys and the log here. If the relay has taken the request and no other device is there, that is good enough:
    /// the next one that connects removes this device. Blobs that no relay had accepted are gone. If the process ends
    /// before this returns, and the others may have been asked, the next start goes on with it.
    ///
    /// A device that waits to be added ([`Status::joining`]) gives that up, and nothing else. If the other device has added
    /// it already, it stands in that group's list until somebody removes it.
    ///
    /// # Errors
    /// [`Code::RelayUnreachable`] if the others could not be told within those seconds: this device is still in the group
    /// and has everything ([`SyncClient::reset`] forgets it without telling them). A request that was on its way already
    /// may still reach them. [`Code::NotInGroup`]; [`Code::DiskFull`], [`Code::Io`].
    pub async fn leave(&self) -> Result<(), SyncError> {
        self.ask(|reply| Command::Leave { reply }).await
    }

    /// Sends what waits, for at most [`limits::FLUSH_ON_CLOSE`], and stops. What is left goes at the next start. Every
    /// later call gives [`Code::Closed`]; the home is free when this returns.
    pub async fn close(&self) {
        let _ = self.ask(|reply| Command::Close { reply }).await;
    }

    /// Waits until the client is closed, by [`SyncClient::close`] or because its engine has ended.
    pub async fn closed(&self) {
        // A view that nobody keeps up any more is as good.
        let _ = self.inner.snapshot.clone().wait_for(|now| now.closed).await;
    }

    /// Whether the client is closed, and its home free.
    pub fn is_closed(&self) -> bool {
        self.inner.commands.is_closed()
    }

    /// Whether both are handles of one client, rather than of one before and one after a reset.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    async fn own(&self, id: BlobId) -> Result<OwnBlob, SyncError> {
        let blob = self.inner.reader.own(id).await?;
        blob.ok_or_else(|| SyncError::new(Code::InvalidArgument, format!("no blob {id} was pushed on this device")))
    }

    async fn ask<T>(&self, command: impl FnOnce(engine::Reply<T>) -> Command) -> Result<T, SyncError> {
        self.inner.ask(command).await
    }
}

impl Inner {
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(engine::Reply<T>) -> Command) -> Result<T, SyncError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| SyncError::closed())?;
        answer.await.map_err(|_| SyncError::closed())?
    }
}

/// What happens, as it happens. A subscriber that is too slow is told how much it missed.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<ClientEvent>,
}

impl Events {
    /// The next event; `None` once the client is closed.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(ClientEvent::Lagged(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Channels of the engine's own are no app's.
fn check_channel(channel: &str) -> Result<(), SyncError> {
    if channel.starts_with(RESERVED_CHANNELS) {
        let message = format!("channels that begin with {RESERVED_CHANNELS} are not for apps");
        return Err(SyncError::new(Code::InvalidArgument, message));
    }
    check_length("channel", channel)
}

fn check_length(what: &str, name: &str) -> Result<(), SyncError> {
    if name.len() > limits::CHANNEL_BYTES {
        return Err(SyncError::new(Code::InvalidArgument, format!("a {what}'s name has at most 256 bytes")));
    }
    Ok(())
}

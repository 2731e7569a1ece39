//! One stream: a session between its frames, the hub, the pairings and the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sync_types::frame::{self, About, Content, FromRelay, Recover, SlotSide};
use sync_types::{Code, DeviceId, GroupId, Opaque, WakeTarget};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::Instrument;

use super::framing::{self, ReadError};
use super::origin::{MemberHere, Origin};
use super::pairing::Pairings;
use super::{Shared, content, jitter_ms, stopped};
use crate::hub::{Event, Inbox, Line, Request, Wake};
use crate::mailbox::{Kit, Proof, Refusal, Verifying, View, check_kit};
use crate::metrics::Gauge;
use crate::rendezvous::PartyId;
use crate::seldom::Seldom;
use crate::session::{Action, Ask, Session};
use crate::store::StoreError;

/// What the two halves of a stream's work share. Neither holds the session across an await.
struct Stream<'a> {
    shared: &'a Shared,
    session: Mutex<Session>,
    inbox: Arc<Inbox>,
    /// Set off when the device is attached or refused, so that the next frame is handed in only then.
    begun: Notify,
    /// Who asked to be attached.
    whom: Mutex<Option<(GroupId, DeviceId)>>,
    origin: Origin,
    /// While a member is attached.
    member: Mutex<Option<MemberHere>>,
    /// Who came with a recovery kit, and the group that it leads to.
    kit: Mutex<Option<(GroupId, Kit)>>,
    /// What the rest of the stream is for, if it is for content.
    content: Mutex<Option<(Content, Proof)>>,
}

/// Counts while it lives.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.add(1);
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Leaves the rendezvous when it is dropped: a connection that is cut takes its streams' work along, wherever that is.
struct Party<'a>(&'a Pairings, PartyId);

impl Drop for Party<'_> {
    fn drop(&mut self) {
        self.0.close(self.1);
    }
}

/// Serves a stream until it ends, the device breaks the protocol, or the relay stops.
pub(super) async fn serve<R, W>(shared: &Shared, reader: R, writer: W, exporter: [u8; 32], origin: Origin)
where
    R: AsyncRead + Unpin + Send + Sync + 'static,
    W: AsyncWrite + Unpin + Send + Sync + 'static,
{
    let inbox = Arc::new(Inbox::default());
    let line = shared.hub.line(inbox.clone());
    let span = tracing::info_span!("session", id = line.id());
    let stream = Stream {
        shared,
        session: Mutex::new(Session::new(exporter, &shared.limits.rates)),
        inbox,
        begun: Notify::new(),
        whom: Mutex::default(),
        origin,
        member: Mutex::default(),
        kit: Mutex::default(),
        content: Mutex::default(),
    };
    stream.serve(reader, writer, line).instrument(span).await;
}

impl Stream<'_> {
    async fn serve<R, W>(&self, mut reader: R, mut writer: W, mut line: Line)
    where
        R: AsyncRead + Unpin + Send + Sync + 'static,
        W: AsyncWrite + Unpin + Send + Sync + 'static,
    {
        let shared = self.shared;
        let _party = Party(&shared.pairings, line.id());
        let mut stopping = shared.stopping.subscribe();
        let asks = async {
            tokio::select! {
                () = self.read(&mut reader, &mut line) => {}
                () = stopped(&mut stopping) => {}
            }
            // What was asked before is answered still.
            line.settled().await;
            self.inbox.close();
            std::future::pending::<()>().await;
        };
        let written = tokio::select! {
            () = asks => false,
            result = self.pump(&mut writer) => result.is_ok(),
        };
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((request, proof)) = content.filter(|_| written) {
            content::serve(shared, request, proof, (Box::new(reader), Box::new(writer))).await;
        } else if written {
            let _ = timeout(shared.limits.write_timeout, writer.shutdown()).await;
        }
        tracing::debug!("the stream is over");
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn whom(&self) -> MutexGuard<'_, Option<(GroupId, DeviceId)>> {
        self.whom.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads frames and asks, until the device ends its side or the session is over.
    async fn read<R: AsyncRead + Unpin>(&self, from: &mut R, line: &mut Line) {
        let mut counted = None;
        let mut first = true;
        loop {
            self.inbox.room().await;
            let most = self.session().frame_bytes();
            let read = if first {
                match timeout(self.shared.limits.first_frame, framing::read(from, most)).await {
                    Ok(read) => read,
                    Err(_) => return,
                }
            } else {
                framing::read(from, most).await
            };
            let actions = match read {
                Ok((frame, size)) => self.session().handle_frame(frame, size, crate::hub::now_ms()),
                Err(ReadError::Bad(e)) => self.session().handle_garbage(e.to_string()),
                Err(ReadError::Closed) => return,
            };
            first = false;
            for action in actions {
                match action {
                    Action::Ask(ask) => {
                        let gauge = match &ask {
                            Ask::Attach(..) | Ask::Create(..) => Some(&self.shared.metrics.sessions),
                            Ask::OpenSlot(_) | Ask::OpenNameplate(_) | Ask::JoinNameplate(_) => {
                                Some(&self.shared.metrics.slots)
                            }
                            _ => None,
                        };
                        if let Some(gauge) = gauge {
                            counted = Some(Counted::new(gauge));
                        }
                        if !self.ask(ask, line).await {
                            return;
                        }
                    }
                    Action::Reply(frame) => self.reply(frame),
                    Action::Close => return,
                }
            }
            let _ = &counted;
        }
    }

    /// Notes whether whoever is attached is a member at present.
    fn note(&self, view: Option<View>) {
        let member = view.and_then(|view| self.shared.members.attached(self.origin, view));
        *self.member.lock().unwrap_or_else(PoisonError::into_inner) = member;
    }

    fn may_show(&self) -> Result<(), Refusal> {
        if self.shared.members.may_show(&self.shared.access, self.origin) {
            return Ok(());
        }
        let message = "this relay is a device's own: only its group's members show pairings here";
        Err(Refusal::new(About::Slot, Code::AccessDenied, message))
    }

    fn waker(&self) -> Result<&dyn Wake, Refusal> {
        let message = "this relay wakes no devices";
        self.shared.waker.as_deref().ok_or_else(|| Refusal::new(About::Wake, Code::WakeUnavailable, message))
    }

    fn may_wake(&self, target: &WakeTarget) -> Result<(), Refusal> {
        target.check().map_err(|message| Refusal::new(About::Wake, Code::InvalidArgument, message))?;
        self.waker()?.check(target)
    }

    /// The group that a recovery kit leads to, once its holder has proved to have it.
    async fn group_of_kit(&self, request: &Recover, proof: &Proof) -> Result<(GroupId, Kit), Refusal> {
        let kit = check_kit(request, proof)?;
        let groups = self.shared.store.kits(kit.key()).await.map_err(|e| Refusal::of_store(About::Session, &e))?;
        let current = groups.iter().filter(|(_, current)| *current).nth(usize::from(request.skip));
        // One that had it says so itself.
        let former = groups.first().filter(|_| request.skip == 0);
        current.or(former).map(|(group, _)| (*group, kit)).ok_or_else(Kit::unknown)
    }

    fn reply(&self, frame: FromRelay) {
        if let FromRelay::Refused(refused) = &frame {
            self.shared.metrics.refused(refused.code());
        }
        self.inbox.put(Event::Reply(frame));
    }

    /// Asks to be attached, and waits for the answer.
    async fn begin(&self, line: &mut Line, request: Request) -> bool {
        let asked = line.ask(request).await;
        if asked {
            self.begun.notified().await;
        }
        asked
    }

    /// Always true: a refusal ends the session when it is written.
    fn entered(&self, outcome: Result<(), Refusal>) -> bool {
        if let Err(refusal) = outcome {
            self.inbox.put(Event::Refused(refusal));
        }
        true
    }

    /// False when the hub has stopped.
    async fn ask(&self, ask: Ask, line: &mut Line) -> bool {
        let inbox = self.inbox.clone();
        let request = match ask {
            Ask::Attach(attach, proof) => {
                *self.whom() = Some((attach.group, attach.device));
                return self.begin(line, Request::Attach { attach, proof, inbox }).await;
            }
            Ask::Create(create, proof) => {
                let (attach, group_info, token) = (create.attach, create.group_info, create.token);
                let within = self.origin == Origin::Process;
                *self.whom() = Some((attach.group, attach.device));
                return self.begin(line, Request::Create { attach, proof, group_info, token, within, inbox }).await;
            }
            Ask::Push(envelopes) => {
                // Only an attached session asks for this.
                let Some((group, _)) = *self.whom() else { return false };
                let work = Verifying::new(group, envelopes, inbox.keys());
                Request::Push(self.shared.verifier.envelopes(work).await)
            }
            Ask::Acknowledge(request) => {
                let Some((group, _)) = *self.whom() else { return false };
                Request::Acknowledge(self.shared.verifier.acknowledgement(group, &request, &inbox.keys()).await)
            }
            Ask::Commit(request) => Request::Commit(Box::new(request)),
            Ask::CopyCommits(request) => Request::CopyCommits(Box::new(request)),
            Ask::Reject(bytes) => Request::Reject(bytes),
            Ask::Presence(envelope) => Request::Presence(envelope),
            Ask::WelcomeStored => Request::WelcomeStored,
            Ask::GroupInfo(signer) => Request::GroupInfo(signer),
            Ask::Heads(heads) => Request::Heads(heads),
            Ask::Vouch(vouch) => Request::Vouch(vouch),
            Ask::KeepSnapshot(snapshot) => Request::KeepSnapshot(snapshot),
            Ask::SetWake(target) => {
                if let Err(refusal) = target.as_deref().map_or(Ok(()), |target| self.may_wake(target)) {
                    return self.entered(Err(refusal));
                }
                Request::SetWake(target)
            }
            Ask::WakeKey => {
                match self.waker() {
                    Ok(waker) => self.reply(FromRelay::WakeKey(waker.key())),
                    Err(refusal) => return self.entered(Err(refusal)),
                }
                return true;
            }
            Ask::KitSnapshot(after) => {
                let kit = *self.kit.lock().unwrap_or_else(PoisonError::into_inner);
                // Only who was shown a group comes so far.
                let Some((group, kit)) = kit else { return false };
                match self.shared.store.kit_snapshot(group, kit.key(), after).await {
                    Ok(found) => self.reply(FromRelay::KitSnapshot(found)),
                    Err(e) => return self.entered(Err(Refusal::of_store(About::Session, &e))),
                }
                return true;
            }
            Ask::Recover(request, proof) => match self.group_of_kit(&request, &proof).await {
                Ok((group, kit)) => {
                    *self.kit.lock().unwrap_or_else(PoisonError::into_inner) = Some((group, kit));
                    Request::Recover { group, kit, inbox }
                }
                Err(refusal) => return self.entered(Err(refusal)),
            },
            Ask::Recovery(recovery) => {
                let kit = *self.kit.lock().unwrap_or_else(PoisonError::into_inner);
                // Only who was shown a group comes so far.
                let Some((group, kit)) = kit else { return false };
                Request::Recovery { group, kit, recovery, inbox }
            }
            Ask::Content(request, proof) => {
                *self.content.lock().unwrap_or_else(PoisonError::into_inner) = Some((request, proof));
                return false;
            }
            Ask::OpenSlot(request) => {
                let shows = request.side == SlotSide::Shows;
                let outcome = match if shows { self.may_show() } else { Ok(()) } {
                    Ok(()) => self.shared.pairings.open(line.id(), request, &inbox).await,
                    Err(refusal) => Err(refusal),
                };
                return self.entered(outcome);
            }
            Ask::OpenNameplate(request) => {
                let outcome = match self.may_show() {
                    Ok(()) => self.shared.pairings.open_nameplate(line.id(), request, &inbox).await,
                    Err(refusal) => Err(refusal),
                };
                return self.entered(outcome);
            }
            Ask::JoinNameplate(request) => {
                let network = self.origin.network();
                let outcome = self.shared.pairings.join_nameplate(line.id(), request, network, &inbox).await;
                return self.entered(outcome);
            }
            Ask::SlotMessage(message) => {
                self.shared.pairings.message(line.id(), message);
                return true;
            }
            Ask::CloseSlot => {
                self.shared.pairings.close(line.id());
                return true;
            }
        };
        line.ask(request).await
    }

    /// Writes what there is to tell: events first, then entries, a portion at a time. An error means that the device is
    /// gone or takes nothing.
    async fn pump<W: AsyncWrite + Unpin>(&self, to: &mut W) -> std::io::Result<()> {
        let stopping: watch::Receiver<bool> = self.shared.stopping.subscribe();
        let mut open = true;
        while open {
            let mut out = Vec::new();
            match self.inbox.try_next() {
                Some(event) => open = self.handle(event, &mut out).await,
                None => {
                    let query = self.session().wants_entries();
                    if let Some(query) = query {
                        open = self.deliver(query, &mut out).await;
                        framing::write(to, &out, self.shared.limits.write_timeout).await?;
                        self.session().handle_flushed();
                        continue;
                    }
                    match self.inbox.next().await {
                        Some(event) => open = self.handle(event, &mut out).await,
                        None => break,
                    }
                }
            }
            // What else waits goes out in the same write.
            while open
                && out.len() < TOGETHER
                && let Some(event) = self.inbox.try_next()
            {
                open = self.handle(event, &mut out).await;
            }
            framing::write(to, &out, self.shared.limits.write_timeout).await?;
        }
        if *stopping.borrow() {
            let bytes = frame::write(&FromRelay::GoingAway(jitter_ms(self.shared.limits.drain_spread)));
            framing::write(to, &bytes, self.shared.limits.write_timeout).await?;
        }
        Ok(())
    }

    /// Puts frames behind `out`. False when the session is over.
    async fn handle(&self, event: Event, out: &mut Vec<u8>) -> bool {
        match event {
            Event::Attached(attachment) => {
                let whom = *self.whom();
                let welcome = match whom.filter(|_| attachment.welcome_waits) {
                    Some((group, device)) => match self.shared.store.welcome(group, device).await {
                        Ok(welcome) => welcome,
                        Err(e) => return self.fail(&e, out),
                    },
                    None => None,
                };
                self.note(Some(attachment.view));
                tracing::debug!(welcome = welcome.is_some(), "attached");
                let frames = self.session().handle_attached(*attachment, welcome);
                self.begun.notify_one();
                put(out, &frames);
                true
            }
            Event::Refused(refusal) => {
                tracing::debug!(code = %refusal.code, "refused");
                let actions = self.session().handle_refused(&refusal);
                self.begun.notify_one();
                act(out, actions)
            }
            Event::Reply(frame) => {
                let last = matches!(&frame, FromRelay::Refused(r) if matches!(r.about, About::Session | About::Slot));
                put(out, &[frame]);
                !last
            }
            Event::Newest(new) => {
                let frames = self.session().handle_newest(new);
                put(out, &frames);
                true
            }
            Event::View(view) => {
                self.note(view);
                act(out, self.session().handle_view(view))
            }
            Event::Confirmed { epoch, cursor } => {
                let frames = self.session().handle_confirmed(epoch, cursor);
                put(out, &frames);
                true
            }
            Event::WelcomeReady => {
                let attached = self.session().attached_as();
                let Some((group, device)) = attached else { return true };
                match self.shared.store.welcome(group, device).await {
                    Ok(welcome) => {
                        put(out, welcome.map(|bytes| FromRelay::Welcome(Opaque(bytes.to_vec()))).as_slice());
                        true
                    }
                    Err(e) => self.fail(&e, out),
                }
            }
            Event::Receipt { statement, .. } => {
                put(out, &[FromRelay::Receipt(Opaque(statement.to_vec()))]);
                true
            }
            Event::Renew => {
                put(out, &[FromRelay::Renew]);
                true
            }
            Event::Presence(envelope) => {
                put(out, &[FromRelay::Presence(envelope)]);
                true
            }
        }
    }

    async fn deliver(&self, query: crate::store::EntriesQuery, out: &mut Vec<u8>) -> bool {
        match self.shared.store.entries(query).await {
            Ok(rows) => {
                self.shared.metrics.delivered.add(rows.len() as u64);
                self.shared.metrics.delivered_bytes.add(rows.iter().map(|row| row.bytes.len() as u64).sum());
                let frames = self.session().handle_entries(&query, rows);
                put(out, &frames);
                true
            }
            Err(e) => self.fail(&e, out),
        }
    }

    /// The store cannot be read: the device is told to come back.
    fn fail(&self, error: &StoreError, out: &mut Vec<u8>) -> bool {
        static SELDOM: Seldom = Seldom::new();
        if let Some(more) = SELDOM.is_due() {
            tracing::error!(%error, more, "the store cannot be read");
        }
        let mut refusal = Refusal::of_store(About::Session, error);
        // Reading needs no room, so whatever it is, it is the relay's own fault.
        if refusal.code == Code::Quota {
            refusal.code = Code::Internal;
        }
        self.shared.metrics.refused(refusal.code);
        put(out, &[refusal.frame()]);
        false
    }
}

/// How many bytes of small frames are written together.
const TOGETHER: usize = 64 * 1024;

fn put(out: &mut Vec<u8>, frames: &[FromRelay]) {
    for frame in frames {
        out.extend_from_slice(&frame::write(frame));
    }
}

fn act(out: &mut Vec<u8>, actions: Vec<Action>) -> bool {
    let mut open = true;
    for action in actions {
        match action {
            Action::Reply(frame) => put(out, &[frame]),
            Action::Close => open = false,
            // Nothing that comes from the hub makes the session ask.
            Action::Ask(_) => {}
        }
    }
    open
}

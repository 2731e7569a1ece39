//! A device that speaks raw frames, with real MLS and real signatures, over any stream.

use mls_rs::client_builder::MlsConfig;
use mls_rs::{Client, ExtensionList, Group, MlsMessage};
use sync_rules::mls;
use sync_rules::statement::sign_acknowledgement;
use sync_rules::{SigningKey, attach, envelope};
use sync_types::body::{Reached, Span};
use sync_types::envelope::{Class, Envelope, Header};
use sync_types::frame::{
    self, Acknowledge, Acknowledgement, Attach, Attached, Commit, Content, ContentAsk, Create, Cut, Entry, FromRelay,
    Refused, Signature, ToRelay, WelcomeFor,
};
use sync_types::settings::Settings;
use sync_types::{DeviceId, EntryHash, GroupId, Opaque, Suite, VERSION};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub type Reader = Box<dyn AsyncRead + Unpin + Send + Sync>;
pub type Writer = Box<dyn AsyncWrite + Unpin + Send + Sync>;

/// One stream to a relay.
pub struct Wire {
    reader: Reader,
    writer: Writer,
    pub exporter: [u8; 32],
}

impl Wire {
    pub fn new(reader: Reader, writer: Writer, exporter: [u8; 32]) -> Self {
        Self { reader, writer, exporter }
    }

    pub fn local(relay: &sync_relay::RunningRelay) -> Self {
        let sync_relay::LocalConnection { reader, writer, exporter } = relay.connect_local();
        Self::new(Box::new(reader), Box::new(writer), exporter)
    }

    pub async fn send(&mut self, frame: &ToRelay) {
        self.send_bytes(&frame::write(frame)).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.unwrap();
        self.writer.flush().await.unwrap();
    }

    /// The stream, for what follows the frames.
    pub fn into_halves(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }

    /// The next frame; `None` at the stream's end.
    pub async fn receive(&mut self) -> Option<FromRelay> {
        let mut prefix = [0; 4];
        self.reader.read_exact(&mut prefix).await.ok()?;
        let mut bytes = vec![0; frame::length(prefix).unwrap()];
        self.reader.read_exact(&mut bytes).await.ok()?;
        Some(frame::read(&bytes).unwrap())
    }

    /// The first frame for which `want` gives something. Others are passed over, but a refusal.
    pub async fn expect<T>(&mut self, want: impl Fn(FromRelay) -> Option<T>) -> T {
        loop {
            let frame = self.receive().await.expect("the relay ended the stream");
            if let FromRelay::Refused(refused) = &frame {
                let found = want(frame.clone());
                return found.unwrap_or_else(|| panic!("refused: {} {refused:?}", refused.code()));
            }
            if let Some(found) = want(frame) {
                return found;
            }
        }
    }

    pub async fn refusal(&mut self) -> Refused {
        self.expect(|frame| match frame {
            FromRelay::Refused(refused) => Some(refused),
            _ => None,
        })
        .await
    }

    pub async fn accepted(&mut self, seq: u64) {
        self.expect(|frame| matches!(frame, FromRelay::Accepted(to) if to >= seq).then_some(())).await;
    }

    /// Delivered entries until there are so many.
    pub async fn entries(&mut self, count: usize) -> Vec<Entry> {
        let mut found = Vec::new();
        while found.len() < count {
            found.extend(
                self.expect(|frame| match frame {
                    FromRelay::Deliver(entries) => Some(entries),
                    _ => None,
                })
                .await,
            );
        }
        found
    }

    /// Until what was sent before is done: an empty push is answered behind it.
    pub async fn settled(&mut self) {
        self.send(&ToRelay::Push(vec![])).await;
        self.accepted(0).await;
    }

    pub async fn acknowledge(&mut self, cursor: u64) {
        self.send(&ToRelay::Acknowledge(Acknowledge { cursor, statement: Opaque::default() })).await;
    }

    /// Acknowledges with a signed statement that `of` has all that `by` sealed.
    pub async fn acknowledge_signed(&mut self, cursor: u64, of: &Device, by: &Device) {
        let frontier = vec![Reached { sender: by.id, seq: by.seq, hash: by.previous }];
        let statement = stated(&of.key, of.group, frontier, vec![]);
        self.send(&ToRelay::Acknowledge(Acknowledge { cursor, statement })).await;
    }
}

/// The header of the envelope behind this number and hash.
pub fn chained(sender: DeviceId, epoch: u64, seq: u64, previous: EntryHash) -> Header {
    let (version, suite, class) = (VERSION, Suite::FOUNDED as u8, Class::Data);
    Header { version, suite, class, epoch, epoch_tag: [0; 8], sender, seq: seq + 1, previous, nonce: [0; 24] }
}

/// The header of presence.
pub fn ephemeral(chained: Header) -> Header {
    Header { class: Class::Ephemeral, seq: 0, previous: EntryHash::default(), ..chained }
}

/// A signed envelope, and the hash by which the next one names it.
pub fn sealed(key: &SigningKey, group: GroupId, header: &Header, fill: u8, len: usize) -> (Opaque, EntryHash) {
    let header = sync_types::encode(header);
    let ciphertext = vec![fill; len];
    let hash = envelope::ciphertext_hash(&ciphertext);
    let signature = envelope::sign_envelope(key, &group, &header, &hash);
    let entry = envelope::entry_hash(&header, &hash, &signature);
    (Opaque(Envelope::assemble(&header, &ciphertext, &signature)), entry)
}

/// A signed acknowledgement.
pub fn stated(key: &SigningKey, group: GroupId, frontier: Vec<Reached>, holes: Vec<Span>) -> Opaque {
    let mut statement = Acknowledgement { device: key.device_id(), frontier, holes, signature: Signature([0; 64]) };
    sign_acknowledgement(key, &group, &mut statement);
    Opaque(sync_types::encode(&statement))
}

/// Asks to be attached.
pub fn attach_request(key: &SigningKey, group: GroupId, exporter: &[u8; 32], stored: u64) -> Attach {
    let proof = Signature(attach::prove(key, group, exporter));
    Attach { version: VERSION, suite: Suite::FOUNDED as u8, group, device: key.device_id(), stored, proof }
}

/// A device with its chain.
pub struct Device {
    pub key: SigningKey,
    pub id: DeviceId,
    pub group: GroupId,
    pub epoch: u64,
    seq: u64,
    previous: EntryHash,
}

impl Device {
    pub fn new(seed: u8, group: GroupId) -> Self {
        let key = SigningKey::from_seed(&[seed; 32]);
        Self { id: key.device_id(), key, group, epoch: 0, seq: 0, previous: EntryHash::default() }
    }

    pub fn request(&self, wire: &Wire, stored: u64) -> Attach {
        attach_request(&self.key, self.group, &wire.exporter, stored)
    }

    pub async fn create(&self, wire: &mut Wire, mls: &Group<impl MlsConfig>, token: &[u8]) {
        let create =
            Create { attach: self.request(wire, 0), group_info: Opaque(info(mls)), token: Opaque(token.to_vec()) };
        wire.send(&ToRelay::Create(create)).await;
    }

    pub async fn attach(&self, wire: &mut Wire, stored: u64) -> Attached {
        wire.send(&ToRelay::Attach(self.request(wire, stored))).await;
        attached(wire).await
    }

    pub async fn ask_to_attach(&self, wire: &mut Wire) {
        wire.send(&ToRelay::Attach(self.request(wire, 0))).await;
    }

    /// Asks something about content, on a stream of its own; what follows the answer is for whoever has the halves then.
    pub async fn about_content(&self, wire: &mut Wire, ask: ContentAsk) -> FromRelay {
        wire.send(&ToRelay::Content(Content { attach: self.request(wire, 0), ask })).await;
        wire.receive().await.expect("the relay ended the stream")
    }

    fn header(&self) -> Header {
        chained(self.id, self.epoch, self.seq, self.previous)
    }

    /// The next envelope of the chain.
    pub fn seal(&mut self, length: usize) -> Opaque {
        let (envelope, hash) = sealed(&self.key, self.group, &self.header(), 7, length);
        (self.seq, self.previous) = (self.seq + 1, hash);
        envelope
    }

    /// An ephemeral envelope.
    pub fn presence(&self) -> Opaque {
        sealed(&self.key, self.group, &ephemeral(self.header()), 7, 272).0
    }

    pub fn seq(&self) -> u64 {
        self.seq
    }

    pub fn client(&self) -> Client<impl MlsConfig + use<>> {
        let (rules, identity) = mls::judges();
        Client::builder()
            .crypto_provider(mls::crypto())
            .identity_provider(identity)
            .mls_rules(rules)
            .extension_types([mls::SETTINGS, mls::BASELINE])
            .custom_proposal_type(mls::EXTERNAL_PROOF)
            .signing_identity(mls::Identity::of(&self.key.public()), mls::secret_key(&self.key), mls::CIPHER_SUITE)
            .build()
    }

    /// The MLS group that this device founds.
    pub fn found(&self) -> Group<impl MlsConfig + use<>> {
        let extensions = mls::context_extensions(&Settings { app_id: b"test".to_vec(), ..Settings::default() });
        self.client().create_group_with_id(self.group.0.to_vec(), extensions, ExtensionList::new(), None).unwrap()
    }
}

pub async fn attached(wire: &mut Wire) -> Attached {
    wire.expect(|frame| match frame {
        FromRelay::Attached(attached) => Some(attached),
        _ => None,
    })
    .await
}

pub fn info(mls: &Group<impl MlsConfig>) -> Vec<u8> {
    mls.group_info_message(true).unwrap().to_bytes().unwrap()
}

/// The commit that adds a device.
pub fn add(mls: &mut Group<impl MlsConfig>, newcomer: &Device) -> Commit {
    let client = newcomer.client();
    let package: MlsMessage =
        client.generate_key_package_message(ExtensionList::new(), ExtensionList::new(), None).unwrap();
    let output = mls.commit_builder().add_member(package).unwrap().build().unwrap();
    mls.apply_pending_commit().unwrap();
    Commit {
        commit: Opaque(output.commit_message.to_bytes().unwrap()),
        group_info: Opaque(info(mls)),
        welcomes: vec![WelcomeFor {
            device: newcomer.id,
            welcome: Opaque(output.welcome_messages[0].to_bytes().unwrap()),
        }],
    }
}

/// The commit that removes a device which has pushed nothing.
pub fn remove(mls: &mut Group<impl MlsConfig>, leaver: &Device) -> Commit {
    let cut = Cut { last: vec![Reached { sender: leaver.id, seq: 0, hash: EntryHash::default() }], lost: false };
    let index = mls.roster().members_iter().find(|m| m.signing_identity == mls::Identity::of(&leaver.key.public()));
    let builder = mls.commit_builder().authenticated_data(sync_types::encode(&cut));
    let output = builder.remove_member(index.unwrap().index).unwrap().build().unwrap();
    mls.apply_pending_commit().unwrap();
    let commit = Opaque(output.commit_message.to_bytes().unwrap());
    Commit { commit, group_info: Opaque(info(mls)), welcomes: vec![] }
}

/// Two devices in one group, both attached, with nothing held.
pub async fn pair(open: impl AsyncFnMut() -> Wire, token: &[u8]) -> ((Device, Wire), (Device, Wire)) {
    let (first, second, _) = founded(open, token).await;
    (first, second)
}

/// The same with the first one's MLS group.
pub async fn founded(
    open: impl AsyncFnMut() -> Wire,
    token: &[u8],
) -> ((Device, Wire), (Device, Wire), Group<impl MlsConfig>) {
    founded_as(GroupId([5; 32]), open, token).await
}

/// The same for this group. The devices' keys are those of any other.
pub async fn founded_as(
    group: GroupId,
    mut open: impl AsyncFnMut() -> Wire,
    token: &[u8],
) -> ((Device, Wire), (Device, Wire), Group<impl MlsConfig>) {
    let (mut first, mut second) = (Device::new(1, group), Device::new(2, group));
    let mut mls = first.found();
    let mut wire = open().await;
    first.create(&mut wire, &mls, token).await;
    attached(&mut wire).await;
    wire.send(&ToRelay::Commit(add(&mut mls, &second))).await;
    let entries = wire.entries(1).await;
    assert_eq!(entries[0].kind, frame::EntryKind::Commit);
    wire.acknowledge(entries[0].cursor).await;
    let mut other = open().await;
    second.attach(&mut other, 0).await;
    let welcome = other
        .expect(|frame| match frame {
            FromRelay::Welcome(welcome) => Some(welcome),
            _ => None,
        })
        .await;
    assert!(!welcome.is_empty());
    other.send(&ToRelay::WelcomeStored).await;
    let entries = other.entries(1).await;
    other.acknowledge(entries[0].cursor).await;
    other.settled().await;
    first.epoch = 1;
    second.epoch = 1;
    ((first, wire), (second, other), mls)
}

//! A newcomer between pairing and its Welcome.

use mls_rs::CryptoProvider;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use rand_core::CryptoRng;
use sync_rules::defence::stands;
use sync_rules::{Defence, SigningKey, attach};
use sync_types::body::{Baseline, Blob, KitShare, Reached, Span};
use sync_types::frame::{About, Attach, FromRelay, Signature, ToRelay};
use sync_types::settings::{HistoryPolicy, Settings};
use sync_types::{DeviceId, GroupId, Opaque, Suite, VERSION, decode, encode};
use zeroize::{Zeroize, Zeroizing};

use super::records::{Peer, Want};
use super::{Device, DeviceError};
use crate::event::{Event, Outcome};
use crate::membership::{Invitation, Membership, MembershipError, key_package};
use crate::pairing::GroupOffer;
use crate::recovery::KitSnapshot;
use crate::store::{Key, Write};

const RECORD_VERSION: u8 = 2;

/// What is stored of a device that comes back by the recovery kit, until the relay has ordered its commits.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
struct Recovered {
    version: u8,
    seed: [u8; 32],
    suite: u8,
    name: Opaque,
    group: GroupId,
    settings: Opaque,
    /// The membership that its commits lead to.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    state: Vec<u8>,
    share: KitShare,
    /// The devices that it puts out, and where their chains end.
    former: Vec<Former>,
    /// What they left for the kit.
    snapshots: Vec<KitSnapshot>,
}

#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
struct Former {
    key: [u8; 32],
    end: Reached,
}

const RECOVERED_VERSION: u8 = 4;

/// How a newcomer comes in.
#[derive(Clone)]
enum Way {
    /// By pairing: a member adds it.
    Paired(Record),
    /// By the recovery kit: it comes by itself.
    Recovered(Recovered),
}

impl Drop for Recovered {
    fn drop(&mut self) {
        self.seed.zeroize();
        self.state.zeroize();
    }
}

/// What is stored, under [`Key::Joining`], from the pairing's offer on.
#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
struct Record {
    version: u8,
    seed: [u8; 32],
    suite: u8,
    name: Opaque,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    secrets: Vec<u8>,
    offered: Option<Offered>,
}

#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
struct Offered {
    group: GroupId,
    sponsor: DeviceId,
    settings: Opaque,
    names: Vec<Named>,
}

#[derive(Clone, MlsSize, MlsEncode, MlsDecode)]
struct Named {
    device: DeviceId,
    name: Opaque,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.seed.zeroize();
        self.secrets.zeroize();
    }
}

/// A newcomer between pairing and its Welcome: it has a key, a key package, and what its sponsor promised. Or one that comes
/// back by the recovery kit, until the relay has ordered its commits.
pub struct Joining<P> {
    crypto: P,
    suite: Suite,
    key: SigningKey,
    way: Way,
}

impl<P: CryptoProvider + Clone> Joining<P> {
    /// Draws a key and makes its key package, of the pairing's suite and dated by the sponsor's time in milliseconds. Gives the
    /// package for the pairing machine.
    pub fn new(
        crypto: P,
        suite: Suite,
        sponsor_now: u64,
        name: &str,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Vec<u8>), DeviceError> {
        let key = SigningKey::generate(rng);
        let package = key_package(crypto.clone(), suite, &key, sponsor_now)?;
        let record = Record {
            version: RECORD_VERSION,
            seed: *key.seed(),
            suite: suite as u8,
            name: Opaque(name.as_bytes().to_vec()),
            secrets: package.secrets.to_vec(),
            offered: None,
        };
        Ok((Self { crypto, suite, key, way: Way::Paired(record) }, package.message))
    }

    /// A device that comes back by the recovery kit: the membership behind its commits, what members hold of the kit, and the
    /// keys of those whom it puts out with the ends of their chains and what they left for the kit.
    pub(crate) fn recovered(
        crypto: P,
        key: SigningKey,
        name: &str,
        mut membership: Membership<P>,
        share: KitShare,
        former: Vec<([u8; 32], Reached)>,
        snapshots: Vec<KitSnapshot>,
    ) -> Result<Self, MembershipError> {
        let suite = membership.suite();
        let record = Recovered {
            version: RECOVERED_VERSION,
            seed: *key.seed(),
            suite: suite as u8,
            name: Opaque(name.as_bytes().to_vec()),
            group: membership.group_id(),
            settings: Opaque(encode(&membership.settings())),
            state: membership.state()?.to_vec(),
            share,
            former: former.into_iter().map(|(key, end)| Former { key, end }).collect(),
            snapshots,
        };
        Ok(Self { crypto, suite, key, way: Way::Recovered(record) })
    }

    /// Takes what the sponsor promised. From now on the newcomer has to be stored.
    pub fn take_offer(&mut self, offer: GroupOffer) {
        let name = |(device, name): (DeviceId, String)| Named { device, name: Opaque(name.into_bytes()) };
        let Way::Paired(record) = &mut self.way else { return };
        record.offered = Some(Offered {
            group: offer.group,
            sponsor: offer.sponsor,
            settings: Opaque(offer.settings),
            names: offer.names.into_iter().map(name).collect(),
        });
    }

    /// The row for [`Key::Joining`]. Holds secrets.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match &self.way {
            Way::Paired(record) => encode(record),
            Way::Recovered(record) => encode(record),
        })
    }

    /// Takes a newcomer up again.
    pub fn from_bytes(bytes: &[u8], crypto: P) -> Result<Self, DeviceError> {
        let (seed, suite, way) = match bytes.first() {
            Some(&RECORD_VERSION) => {
                let record: Record = decode(bytes)?;
                (record.seed, record.suite, Way::Paired(record))
            }
            Some(&RECOVERED_VERSION) => {
                let record: Recovered = decode(bytes)?;
                (record.seed, record.suite, Way::Recovered(record))
            }
            version => return Err(DeviceError::Version(version.copied().unwrap_or(0))),
        };
        let key = SigningKey::from_seed(&Zeroizing::new(seed));
        let suite = Suite::from_wire(suite).map_err(DeviceError::Refused)?;
        Ok(Self { crypto, suite, key, way })
    }

    /// Whether it comes back by the recovery kit.
    pub fn is_recovery(&self) -> bool {
        matches!(self.way, Way::Recovered(_))
    }

    /// The id that this device will have.
    pub fn id(&self) -> DeviceId {
        self.key.device_id()
    }

    /// The group that was promised, once the offer is here.
    pub fn group(&self) -> Option<GroupId> {
        match &self.way {
            Way::Paired(record) => record.offered.as_ref().map(|o| o.group),
            Way::Recovered(record) => Some(record.group),
        }
    }

    /// What the group agreed on, its relays among it, once the offer is here.
    pub fn settings(&self) -> Option<Settings> {
        let settings = match &self.way {
            Way::Paired(record) => &record.offered.as_ref()?.settings,
            Way::Recovered(record) => &record.settings,
        };
        Settings::parse(settings).ok()
    }

    /// The frame that attaches, over the connection's exporter value. The relay answers `NOT_MEMBER` as long as the
    /// sponsor's commit is not ordered.
    pub fn attach(&self, exporter: &[u8; 32]) -> Result<ToRelay, DeviceError> {
        let group = self.group().ok_or(DeviceError::Invalid("the sponsor has not promised anything yet"))?;
        Ok(ToRelay::Attach(Attach {
            version: VERSION,
            suite: self.suite as u8,
            group,
            device: self.id(),
            stored: 0,
            proof: Signature(attach::prove(&self.key, group, exporter)),
        }))
    }

    /// A frame came. When it is the Welcome, the newcomer becomes a device, whose first writes replace whatever group it
    /// had, and bring its own blobs along. The session has to be begun again with [`Device::handle_connected`] on a new
    /// connection, or continued: `frame`s before the Welcome hold nothing that is lost.
    pub fn handle_frame(
        &mut self,
        frame: &FromRelay,
        now: u64,
        _rng: &mut dyn CryptoRng,
    ) -> Result<Option<Device<P>>, DeviceError> {
        match (frame, &self.way) {
            (FromRelay::Attached(_), Way::Recovered(record)) => return self.come_back(record, now).map(Some),
            (FromRelay::Refused(refused), _) if refused.about == About::Session => {
                return Err(DeviceError::Refused(refused.code()));
            }
            (_, Way::Recovered(_)) => return Ok(None),
            _ => {}
        }
        match frame {
            FromRelay::Welcome(welcome) => self.join(welcome, now).map(Some),
            // The Welcome comes first where there is one. Without it, somebody has taken the newcomer out again.
            FromRelay::CaughtUp(_) => Err(DeviceError::Refused(sync_types::Code::Removed)),
            _ => Ok(None),
        }
    }

    /// The relay has ordered the commits, and has this device attached: it is the group's one member.
    fn come_back(&self, record: &Recovered, now: u64) -> Result<Device<P>, DeviceError> {
        let membership = Membership::load(self.crypto.clone(), &record.state)?;
        let name = String::from_utf8_lossy(&record.name).into_owned();
        let mut device = Device::assemble(self.key.clone(), &name, membership, self.crypto.clone(), now)?;
        device.all_have_group();
        device.chain.announced = true;
        device.agreed.share = Some(record.share.clone());
        let mut lost = Vec::new();
        for Former { key, end } in &record.former {
            let peer =
                Peer { key: *key, seq: end.seq, hash: end.hash, cut: Some(end.seq), heard: end.seq, ..Peer::default() };
            device.peers.insert(end.sender, peer);
            device.dirty.insert(Key::Peer(end.sender));
            lost.extend((end.seq > 0).then_some(Span { sender: end.sender, from: 1, to: end.seq }));
        }
        device.dirty.extend([Key::Agreed, Key::Joining]);
        device.writes = vec![Write::ClearGroup, Write::Reoffer { sender: device.me }];
        for snapshot in &record.snapshots {
            let channel = String::from_utf8_lossy(&snapshot.channel).into_owned();
            let blob = Blob { id: snapshot.id, channel, data: snapshot.data.0.clone(), snapshot: true };
            let (maker, covers) = (snapshot.maker, snapshot.covers.clone());
            device.writes.push(Write::RestoreSnapshot { sender: device.me, maker, blob, covers });
        }
        for span in lost {
            // Whoever held it is out, and this device has no keys for it.
            device.refuse(Outcome::HistoryLost, 0, Some(span.sender), &encode(&span), now);
        }
        device.events.push(Event::Joined);
        Ok(device)
    }

    fn join(&self, welcome: &[u8], now: u64) -> Result<Device<P>, DeviceError> {
        let unpromised = || DeviceError::Invalid("the sponsor has not promised anything yet");
        let Way::Paired(record) = &self.way else { return Err(unpromised()) };
        let offered = record.offered.as_ref().ok_or_else(unpromised)?;
        let settings = &Settings::parse(&offered.settings)?;
        let invitation = Invitation { group: offered.group, sponsor: offered.sponsor, settings };
        let joined = Membership::join(self.crypto.clone(), &record.secrets, welcome, invitation)?;
        let baseline: Baseline = joined.baseline.as_deref().map(decode).transpose()?.unwrap_or_default();
        if !baseline.is_bounded() {
            return Err(DeviceError::Invalid("the sponsor's baseline holds a number beyond its bound"));
        }
        let name = String::from_utf8_lossy(&record.name).into_owned();
        let mut device = Device::assemble(self.key.clone(), &name, joined.membership, self.crypto.clone(), now)?;
        device.all_have_group();
        device.wants.holder = offered.sponsor;
        let all = joined.settings.history == HistoryPolicy::All && stands(Defence::Baseline);
        for reached in baseline.frontier.iter().filter(|r| r.sender != device.me) {
            let former = || Peer { cut: Some(reached.seq), ..Peer::default() };
            let peer = device.peers.entry(reached.sender).or_insert_with(former);
            (peer.seq, peer.hash) = (reached.seq, reached.hash);
            device.dirty.insert(Key::Peer(reached.sender));
            if all {
                let span = Span { sender: reached.sender, from: 1, to: reached.seq };
                device.wants.list.push(Want { span, asked: false, lacking: Vec::new() });
            }
        }
        if let (Some(share), Some(key)) = (baseline.kit, joined.settings.recovery())
            && device.is_share(&share, &key)
        {
            device.agreed.share = Some(share);
            device.dirty.insert(Key::Agreed);
        }
        for named in &offered.names {
            if let Some(peer) = device.peers.get_mut(&named.device) {
                peer.name = named.name.clone();
            }
        }
        device.writes = vec![Write::ClearGroup, Write::Reoffer { sender: device.me }];
        device.dirty.insert(Key::Joining);
        device.events.push(Event::Joined);
        if device.wants.list.is_empty() {
            device.events.push(Event::Synced);
        }
        Ok(device)
    }
}

impl<P> std::fmt::Debug for Joining<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joining").field("device", &self.key.device_id()).finish_non_exhaustive()
    }
}

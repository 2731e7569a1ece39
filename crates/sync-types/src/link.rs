//! Pairing links: what a QR holds and what a person pastes.
//!
//! A link is `KSYNC:` and the base32 form (RFC 4648 §6, upper case, no padding) of these bytes: version, suite, [`Body`]
//! in the encoding of [`crate::codec`], and the CRC-32 of all before it. Colon and base32 lie in the alphabet of a QR's
//! alphanumeric mode; with one IPv4 host a link has 205 characters, which is QR version 8 at level M.
//!
//! The checksum finds what a person does to a link: cut it short, or change a character (CRC-32 finds every change that
//! spans at most 32 bits, and a character is 5). It is no defence: the handshake's prologue is.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{Code, DecodeError, Opaque, RelayAddress, Suite, VERSION, codec, limits};

/// What every link begins with; read in either case.
pub const SCHEME: &str = "KSYNC:";

/// How many hosts a link may name.
pub const LINK_HOSTS: usize = 8;

/// The longest link, in characters. Longer texts are refused unread.
pub const LINK_CHARS: usize = 2048;

const HOST_BYTES: usize = 255;
const CHECKSUM_BYTES: usize = 4;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// The two sides of a pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum Side {
    /// The device that is in the group.
    Member = 1u8,
    /// The device that wants to join it.
    Newcomer = 2u8,
}

impl Side {
    /// The other side.
    pub const fn other(self) -> Self {
        match self {
            Self::Member => Self::Newcomer,
            Self::Newcomer => Self::Member,
        }
    }
}

/// A link's 32 secret bytes. Erased when dropped, and never printed.
#[derive(Clone, ZeroizeOnDrop, MlsSize, MlsEncode, MlsDecode)]
pub struct LinkSecret([u8; 32]);

impl LinkSecret {
    /// Takes 32 bytes from a cryptographic generator.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(…)")
    }
}

/// `host:port` as a link carries it: in its one canonical form, without user, path or IPv6 scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(String);

impl Host {
    /// The text, `host:port`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SocketAddr> for Host {
    /// Drops an IPv6 flow label and scope: they mean nothing on another device.
    fn from(address: SocketAddr) -> Self {
        Self(SocketAddr::new(address.ip(), address.port()).to_string())
    }
}

impl FromStr for Host {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() > 0 { Ok(address.into()) } else { Err(malformed("port 0 is no port")) };
        }
        let (name, port) = text.rsplit_once(':').ok_or(malformed("a host in a link is host:port"))?;
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.' | b'_');
        if name.is_empty() || text.len() > HOST_BYTES || !name.bytes().all(plain) {
            return Err(malformed("a host in a link is a DNS name in lower case, at most 255 bytes with its port"));
        }
        match port.parse::<u16>() {
            Ok(number) if number > 0 && number.to_string() == port => Ok(Self(text.to_owned())),
            _ => Err(malformed("behind a host's name stands a port")),
        }
    }
}

/// What kind of relay carries the pairing, and the group behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RelayKind {
    /// A relay whose key is pinned.
    Pinned,
    /// A relay behind this web origin (`https://host[:port]`), which tells anew who and where it is.
    Web(String),
    /// The mailbox of a member, which hosts it while it runs.
    Embedded,
}

/// Where the two sides of a pairing meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelayHint {
    /// The Ed25519 endpoint key of the relay.
    pub endpoint: [u8; 32],
    /// Where it listens, as far as the shower knows; at most [`LINK_HOSTS`], and none where discovery has to do.
    pub hosts: Vec<Host>,
    /// What kind of relay it is.
    pub kind: RelayKind,
}

impl RelayHint {
    /// The relay as a group's settings name it, without a token.
    pub fn address(&self) -> RelayAddress {
        match &self.kind {
            RelayKind::Pinned => RelayAddress::Pinned {
                endpoint: self.endpoint,
                hosts: self.hosts.iter().map(Host::to_string).collect(),
                token: None,
            },
            RelayKind::Web(origin) => RelayAddress::Web { origin: origin.clone(), token: None },
            RelayKind::Embedded => RelayAddress::Hosted {
                endpoint: self.endpoint,
                hosts: self.hosts.iter().map(Host::to_string).collect(),
                device: None,
            },
        }
    }

    fn check(&self) -> Result<(), LinkError> {
        if self.hosts.len() > LINK_HOSTS {
            return Err(malformed("a link names at most 8 hosts"));
        }
        if matches!(self.kind, RelayKind::Pinned) && self.hosts.is_empty() {
            return Err(malformed("a pinned relay has a host"));
        }
        if let RelayKind::Web(origin) = &self.kind {
            let web = RelayAddress::Web { origin: origin.clone(), token: None };
            if origin.len() > limits::ADDRESS_BYTES || origin.parse::<RelayAddress>() != Ok(web) {
                return Err(malformed("the web relay in a link is an origin, https://host"));
            }
        }
        Ok(())
    }
}

/// A pairing link. It holds no key of the group, and is worth nothing after one use or when its time is over.
#[derive(Clone, Debug)]
pub struct Link {
    /// The suite of the group, and of the handshake.
    pub suite: Suite,
    /// The first 8 bytes of the labelled hash of the app's id.
    pub app: [u8; 8],
    /// Which side shows the link; the other one scans it.
    pub shows: Side,
    /// When the link's time is over by the shower's clock, in seconds since the Unix epoch.
    pub expires_at: u32,
    /// Drawn for this link and used once.
    pub secret: LinkSecret,
    /// The labelled hash of the static keys that the shower drew for this link.
    pub fingerprint: [u8; 32],
    /// Where the two meet.
    pub relay: RelayHint,
}

/// Why a text is no link that can be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The text is no link at all.
    #[error("this is no pairing link: one begins with KSYNC:")]
    NotALink,
    /// The text is cut short or altered.
    #[error("the pairing link is damaged or cut short")]
    Damaged,
    /// The link is whole, but a field in it is not what it may be.
    #[error("the pairing link is malformed: {0}")]
    Malformed(DecodeError),
    /// The link is of another protocol version.
    #[error("the pairing link has version {0}, this build reads {VERSION}")]
    Version(u8),
    /// The link is for a cipher suite that this build does not have.
    #[error("the pairing link has cipher suite {0}, which this build does not have")]
    Suite(u8),
}

impl LinkError {
    /// The code that a user sees.
    pub const fn code(&self) -> Code {
        match self {
            Self::NotALink | Self::Damaged | Self::Malformed(_) => Code::LinkInvalid,
            Self::Version(_) => Code::Version,
            Self::Suite(_) => Code::Suite,
        }
    }
}

const fn malformed(reason: &'static str) -> LinkError {
    LinkError::Malformed(DecodeError::Limit(reason))
}

impl Link {
    /// The link's bytes, checksum included: what the QR holds and what the handshake's prologue covers.
    ///
    /// # Errors
    /// [`LinkError::Malformed`] if the relay hint is beyond its bounds.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, LinkError> {
        self.relay.check()?;
        let body = Zeroizing::new(codec::encode(&Body::from(self)));
        let mut bytes = Zeroizing::new(Vec::with_capacity(body.len() + 2 + CHECKSUM_BYTES));
        bytes.extend_from_slice(&[VERSION, self.suite as u8]);
        bytes.extend_from_slice(&body);
        let checksum = CRC.checksum(&bytes).to_be_bytes();
        bytes.extend_from_slice(&checksum);
        Ok(bytes)
    }

    /// The link as text. Whoever has it can pair, so it is shown to the person and goes into no log.
    ///
    /// # Errors
    /// [`LinkError::Malformed`] if the relay hint is beyond its bounds.
    pub fn to_text(&self) -> Result<Zeroizing<String>, LinkError> {
        let mut text = Zeroizing::new(String::with_capacity(256));
        text.push_str(SCHEME);
        BASE32_NOPAD.encode_append(&self.to_bytes()?, &mut text);
        if text.len() > LINK_CHARS {
            return Err(malformed("a link has at most 2048 characters"));
        }
        Ok(text)
    }

    /// Reads a link's bytes. See [`Link::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LinkError> {
        let (covered, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(LinkError::Damaged)?;
        if CRC.checksum(covered).to_be_bytes() != *checksum {
            return Err(LinkError::Damaged);
        }
        let (&[version, suite], body) = covered.split_first_chunk::<2>().ok_or(LinkError::Damaged)?;
        if version != VERSION {
            return Err(LinkError::Version(version));
        }
        let suite = Suite::from_wire(suite).map_err(|_| LinkError::Suite(suite))?;
        let body: Body = codec::decode(body).map_err(LinkError::Malformed)?;
        body.into_link(suite)
    }
}

/// Reads a link's text, in either case and with white space around it.
impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim();
        let payload = match text.split_at_checked(SCHEME.len()) {
            Some((scheme, payload)) if scheme.eq_ignore_ascii_case(SCHEME) => payload,
            _ => return Err(LinkError::NotALink),
        };
        if text.len() > LINK_CHARS {
            return Err(LinkError::Damaged);
        }
        let payload = Zeroizing::new(payload.to_ascii_uppercase());
        let bytes = Zeroizing::new(BASE32_NOPAD.decode(payload.as_bytes()).map_err(|_| LinkError::Damaged)?);
        Self::from_bytes(&bytes)
    }
}

/// What stands between the suite and the checksum.
#[derive(MlsSize, MlsEncode, MlsDecode)]
struct Body {
    app: [u8; 8],
    shows: Side,
    expires_at: u32,
    secret: LinkSecret,
    fingerprint: [u8; 32],
    kind: WireKind,
    endpoint: [u8; 32],
    hosts: Vec<WireHost>,
}

#[derive(MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
enum WireKind {
    Pinned = 1u8,
    Web(Opaque) = 2u8,
    Embedded = 3u8,
}

/// An IP address stands as its bytes and the port's two; a name stands as text.
#[derive(MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
enum WireHost {
    Name(Opaque) = 1u8,
    V4([u8; 6]) = 4u8,
    V6([u8; 18]) = 6u8,
}

impl From<&Host> for WireHost {
    fn from(host: &Host) -> Self {
        match host.0.parse::<SocketAddr>() {
            Ok(SocketAddr::V4(a)) => Self::V4(concat(a.ip().octets(), a.port().to_be_bytes())),
            Ok(SocketAddr::V6(a)) => Self::V6(concat(a.ip().octets(), a.port().to_be_bytes())),
            Err(_) => Self::Name(host.0.clone().into_bytes().into()),
        }
    }
}

impl TryFrom<WireHost> for Host {
    type Error = LinkError;

    fn try_from(host: WireHost) -> Result<Self, LinkError> {
        let address = match host {
            WireHost::V4([a, b, c, d, high, low]) => {
                SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
            }
            WireHost::V6([ip @ .., high, low]) => {
                SocketAddr::from((Ipv6Addr::from(ip), u16::from_be_bytes([high, low])))
            }
            WireHost::Name(text) => {
                let text = String::from_utf8(text.0).map_err(|_| malformed("a host in a link is text"))?;
                // One form for each host: an address goes as bytes.
                if text.parse::<SocketAddr>().is_ok() {
                    return Err(malformed("an IP address in a link stands as bytes"));
                }
                return text.parse();
            }
        };
        address.to_string().parse()
    }
}

fn concat<const N: usize, const M: usize>(ip: [u8; N], port: [u8; 2]) -> [u8; M] {
    let mut out = [0; M];
    out[..N].copy_from_slice(&ip);
    out[N..].copy_from_slice(&port);
    out
}

impl From<&Link> for Body {
    fn from(link: &Link) -> Self {
        Self {
            app: link.app,
            shows: link.shows,
            expires_at: link.expires_at,
            secret: link.secret.clone(),
            fingerprint: link.fingerprint,
            kind: match &link.relay.kind {
                RelayKind::Pinned => WireKind::Pinned,
                RelayKind::Web(origin) => WireKind::Web(origin.clone().into_bytes().into()),
                RelayKind::Embedded => WireKind::Embedded,
            },
            endpoint: link.relay.endpoint,
            hosts: link.relay.hosts.iter().map(WireHost::from).collect(),
        }
    }
}

impl Body {
    fn into_link(self, suite: Suite) -> Result<Link, LinkError> {
        let kind = match self.kind {
            WireKind::Pinned => RelayKind::Pinned,
            WireKind::Embedded => RelayKind::Embedded,
            WireKind::Web(origin) => {
                RelayKind::Web(String::from_utf8(origin.0).map_err(|_| malformed("the web relay in a link is text"))?)
            }
        };
        let hosts = self.hosts.into_iter().map(Host::try_from).collect::<Result<_, _>>()?;
        let relay = RelayHint { endpoint: self.endpoint, hosts, kind };
        relay.check()?;
        Ok(Link {
            suite,
            app: self.app,
            shows: self.shows,
            expires_at: self.expires_at,
            secret: self.secret,
            fingerprint: self.fingerprint,
            relay,
        })
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;

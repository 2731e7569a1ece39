//! Which addresses are everybody's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A block of addresses, such as `10.0.0.0/8` (RFC 4632 §3.1, RFC 4291 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    const fn v4(a: u8, b: u8, c: u8, bits: u8) -> Self {
        Self { first: IpAddr::V4(Ipv4Addr::new(a, b, c, 0)), bits }
    }

    const fn v6(a: u16, b: u16, bits: u8) -> Self {
        Self { first: IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), bits }
    }

    /// Whether an address lies in it. An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) counts as the IPv4 address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => shared(first.to_bits() ^ address.to_bits(), self.bits),
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

fn shared(difference: u32, bits: u8) -> bool {
    difference.leading_zeros() >= u32::from(bits)
}

impl FromStr for Network {
    type Err = String;

    /// # Errors
    /// What is wrong with it, for people to read.
    fn from_str(text: &str) -> Result<Self, String> {
        let (first, bits) = text.split_once('/').map_or((text, None), |(first, bits)| (first, Some(bits)));
        // An IPv4 address is compared as such, however it was written.
        let Some(first) = first.parse::<IpAddr>().ok().filter(|first| first.to_canonical() == *first) else {
            return Err(format!("{text} is no network: write one as 10.0.0.0/8 or fd00::/8"));
        };
        let most = if first.is_ipv4() { 32 } else { 128 };
        let Some(bits) = bits.map_or(Some(most), |bits| bits.parse::<u8>().ok().filter(|bits| *bits <= most)) else {
            return Err(format!("{text} is no network: after the slash stands a number up to {most}"));
        };
        let begin: IpAddr = match first {
            IpAddr::V4(v4) => {
                Ipv4Addr::from_bits(v4.to_bits() & !u32::MAX.checked_shr(bits.into()).unwrap_or(0)).into()
            }
            IpAddr::V6(v6) => {
                Ipv6Addr::from_bits(v6.to_bits() & !u128::MAX.checked_shr(bits.into()).unwrap_or(0)).into()
            }
        };
        // Whoever writes a host's address before a short prefix may not mean all of its network.
        if begin != first {
            return Err(format!("{text} names an address inside a network: write {begin}/{bits} or {first}/{most}"));
        }
        Ok(Self { first, bits })
    }
}

/// What is not on the public internet, after IANA's registry of special-purpose IPv4 addresses (RFC 6890), with
/// multicast.
const NOT_PUBLIC_V4: [Network; 15] = [
    Network::v4(0, 0, 0, 8),
    Network::v4(10, 0, 0, 8),
    Network::v4(100, 64, 0, 10),
    Network::v4(127, 0, 0, 8),
    Network::v4(169, 254, 0, 16),
    Network::v4(172, 16, 0, 12),
    Network::v4(192, 0, 0, 24),
    Network::v4(192, 0, 2, 24),
    Network::v4(192, 88, 99, 24),
    Network::v4(192, 168, 0, 16),
    Network::v4(198, 18, 0, 15),
    Network::v4(198, 51, 100, 24),
    Network::v4(203, 0, 113, 24),
    Network::v4(224, 0, 0, 4),
    Network::v4(240, 0, 0, 4),
];

/// All that is handed out as global unicast (RFC 4291 §2.4). Outside lie loopback, unique local, link-local, site-local
/// and multicast addresses, discard prefixes and translation for a local network (64:ff9b:1::/48).
const GLOBAL_V6: Network = Network::v6(0x2000, 0, 3);
/// What of it is special: protocols' own addresses, Teredo among them, and documentation.
const NOT_PUBLIC_V6: [Network; 3] =
    [Network::v6(0x2001, 0, 23), Network::v6(0x2001, 0xdb8, 32), Network::v6(0x3fff, 0, 20)];

/// Whether an address is everybody's, so that a stranger may name it.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !NOT_PUBLIC_V4.iter().any(|network| network.contains(address)),
        IpAddr::V6(v6) => match inside(v6) {
            Some(v4) => is_public(v4.into()),
            None => GLOBAL_V6.contains(address) && !NOT_PUBLIC_V6.iter().any(|network| network.contains(address)),
        },
    }
}

/// The IPv4 address that packets to an IPv6 address may end at: mapped and compatible ones (RFC 4291 §2.5.5), NAT64
/// (RFC 6052 §2.1) and 6to4 (RFC 3056 §2).
fn inside(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            (high, low)
        }
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

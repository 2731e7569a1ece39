//! Relay addresses: the one configuration value that the hosting tiers differ in.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

use crate::{DeviceId, limits};

/// Where a group's relay is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum RelayAddress {
    /// Every member hosts a mailbox for its group while it runs. This is what a configuration says; a group's settings name each.
    Embedded,
    /// The mailbox that a member hosts while it runs: `embedded://ENDPOINT[@host:port[,host:port…]][/DEVICE]`.
    Hosted {
        /// The mailbox's Ed25519 endpoint key.
        endpoint: [u8; 32],
        /// Where it listened when it was told last, as `host:port`. It may be elsewhere by now: its key finds it.
        hosts: Vec<String>,
        /// The member, where the group's settings say so.
        device: Option<DeviceId>,
    },
    /// A relay whose key is pinned: `ksync://ENDPOINT@host:port[,host:port…]`.
    Pinned {
        /// The relay's Ed25519 endpoint key.
        endpoint: [u8; 32],
        /// Where it listens, as `host:port`; at least one.
        hosts: Vec<String>,
        /// The access token behind `#`, a secret of the installation.
        token: Option<String>,
    },
    /// A relay that says at `/.well-known/0ksync` who and where it is: `https://host[:port]`, and on loopback `http://`.
    Web {
        /// The address without path and token.
        origin: String,
        /// The access token behind `#`, a secret of the installation.
        token: Option<String>,
    },
}

/// What the address of a mailbox that a member hosts begins with.
const HOSTED: &str = "embedded://";

/// A text that is no relay address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidAddress {
    reason: &'static str,
}

const fn invalid(reason: &'static str) -> InvalidAddress {
    InvalidAddress { reason }
}

impl RelayAddress {
    /// The access token, if the address has one.
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::Embedded | Self::Hosted { .. } => None,
            Self::Pinned { token, .. } | Self::Web { token, .. } => token.as_deref(),
        }
    }

    /// The same address without its token: the form that other devices and the relay may see.
    pub fn without_token(&self) -> Self {
        match self.clone() {
            address @ (Self::Embedded | Self::Hosted { .. }) => address,
            Self::Pinned { endpoint, hosts, .. } => Self::Pinned { endpoint, hosts, token: None },
            Self::Web { origin, .. } => Self::Web { origin, token: None },
        }
    }

    /// Whether members host it, so that it is there only while one of them is.
    pub fn is_members(&self) -> bool {
        matches!(self, Self::Embedded | Self::Hosted { .. })
    }

    /// The key that the address pins.
    pub fn endpoint(&self) -> Option<&[u8; 32]> {
        match self {
            Self::Pinned { endpoint, .. } | Self::Hosted { endpoint, .. } => Some(endpoint),
            Self::Embedded | Self::Web { .. } => None,
        }
    }
}

fn endpoint_of(text: &str) -> Result<[u8; 32], InvalidAddress> {
    let bytes = HEXLOWER.decode(text.as_bytes()).ok();
    let wrong = invalid("the endpoint in a relay address is 64 hexadecimal digits");
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(wrong)
}

fn hosts_of(text: &str) -> Result<Vec<String>, InvalidAddress> {
    let hosts: Vec<String> = text.split(',').map(str::to_owned).collect();
    let all = hosts.iter().all(|host| is_host_port(host));
    if all { Ok(hosts) } else { Err(invalid("behind '@' a relay address has host:port")) }
}

/// What stands behind [`HOSTED`].
fn hosted(text: &str) -> Result<RelayAddress, InvalidAddress> {
    let (text, device) = match text.split_once('/') {
        Some((text, device)) => {
            let device = HEXLOWER.decode(device.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
            (text, Some(DeviceId(device.ok_or(invalid("the device in a relay address is 32 hexadecimal digits"))?)))
        }
        None => (text, None),
    };
    let (endpoint, hosts) = match text.split_once('@') {
        Some((endpoint, hosts)) => (endpoint, hosts_of(hosts)?),
        None => (text, Vec::new()),
    };
    Ok(RelayAddress::Hosted { endpoint: endpoint_of(endpoint)?, hosts, device })
}

impl FromStr for RelayAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if text.len() > limits::ADDRESS_BYTES {
            return Err(invalid("a relay address has at most 512 bytes"));
        }
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        if let Some(rest) = text.strip_prefix(HOSTED) {
            return hosted(rest);
        }
        let (text, token) = match text.split_once('#') {
            Some((_, "")) => return Err(invalid("the access token behind '#' is empty")),
            Some((address, token)) => (address, Some(token.to_owned())),
            None => (text, None),
        };
        if let Some(rest) = text.strip_prefix("ksync://") {
            let (endpoint, hosts) =
                rest.split_once('@').ok_or(invalid("a pinned relay address is ksync://ENDPOINT@host:port"))?;
            return Ok(Self::Pinned { endpoint: endpoint_of(endpoint)?, hosts: hosts_of(hosts)?, token });
        }
        let web = text.trim_end_matches('/');
        let host = match (web.strip_prefix("https://"), web.strip_prefix("http://")) {
            (Some(host), _) => host,
            (None, Some(host)) if is_loopback(host) => host,
            (None, Some(_)) => return Err(invalid("http:// is for loopback only; use https://")),
            (None, None) => {
                return Err(invalid("a relay address is 'embedded', ksync://ENDPOINT@host:port or https://host"));
            }
        };
        let host = host.strip_suffix("/.well-known/0ksync").unwrap_or(host);
        if host.is_empty() || host.contains(['/', '?', '@', ' ']) {
            return Err(invalid("an https:// relay address is a host with nothing behind it but '#token'"));
        }
        let scheme = if web.starts_with("https") { "https" } else { "http" };
        Ok(Self::Web { origin: format!("{scheme}://{host}"), token })
    }
}

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    !host.is_empty() && !host.contains(['/', ' ', '@', '#']) && port.parse::<u16>().is_ok_and(|p| p > 0)
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "[::1]") || name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// The whole address, token included: for the configuration file, never for logs.
impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded")?,
            Self::Hosted { endpoint, hosts, device } => {
                write!(f, "{HOSTED}{}", HEXLOWER.encode(endpoint))?;
                if !hosts.is_empty() {
                    write!(f, "@{}", hosts.join(","))?;
                }
                if let Some(device) = device {
                    write!(f, "/{}", HEXLOWER.encode(&device.0))?;
                }
            }
            Self::Pinned { endpoint, hosts, .. } => {
                write!(f, "ksync://{}@{}", HEXLOWER.encode(endpoint), hosts.join(","))?;
            }
            Self::Web { origin, .. } => f.write_str(origin)?,
        }
        match self.token() {
            Some(token) => write!(f, "#{token}"),
            None => Ok(()),
        }
    }
}

/// Redacts the token.
impl fmt::Debug for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.without_token(), if self.token().is_some() { "#…" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const PIN: &str = "ksync://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@127.0.0.1:4433";

    #[test]
    fn addresses_print_as_they_parse() {
        for text in
            ["embedded", PIN, "https://sync.example.org", "https://sync.example.org#s3cret", "http://127.0.0.1:8080"]
        {
            assert_eq!(text.parse::<RelayAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn mailboxes_of_members_are_named_by_their_keys() {
        let device = "0102030405060708090a0b0c0d0e0f10";
        for rest in ["", "@192.0.2.7:4433,[2001:db8::7]:1", "@192.0.2.7:4433/DEV", "/DEV"] {
            let text = format!("embedded://{KEY}{rest}").replace("DEV", device);
            let address: RelayAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!((address.is_members(), address.endpoint(), address.token()), (true, Some(&[0xaa; 32]), None));
        }
        for wrong in
            ["embedded:", "embedded://", "embedded://abc", "embedded://KEY@", "embedded://KEY/12", "embedded://KEY#t"]
        {
            assert!(wrong.replace("KEY", KEY).parse::<RelayAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "ksync://abc@h:1",
            "ksync://",
            "http://example.org",
            "https://",
            "https://a/b",
            "https://a#",
            "ftp://a",
        ] {
            assert!(text.parse::<RelayAddress>().is_err(), "{text}");
        }
        assert!(PIN.replace(":4433", ":0").parse::<RelayAddress>().is_err());
        assert!(PIN.replace(":4433", "").parse::<RelayAddress>().is_err());
    }

    #[test]
    fn debug_and_the_shared_form_hold_no_token() {
        let address: RelayAddress = "https://a.example#s3cret".parse().unwrap();
        assert!(!format!("{address:?}").contains("s3cret"));
        assert_eq!(address.without_token().to_string(), "https://a.example");
    }
}

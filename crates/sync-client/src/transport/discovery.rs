//! Finding the mailboxes that members host. Laptops move: where one was when the group heard of it last, it may not be any more. Its
//! key finds it: by multicast DNS in the local network, and by servers of iroh's network, with which it leaves word where it is and
//! which carry packets where no direct way is found. None of them is trusted: they see keys, addresses and sealed packets.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use iroh::RelayUrl;
use iroh::address_lookup::{N0_DNS_PKARR_RELAY_PROD, PkarrPublisher, PkarrResolver};
use iroh::dns::DnsResolver;
use iroh::endpoint::{Builder, NetReportConfig, RelayMode};
use iroh::tls::CaTlsConfig;
use iroh_mdns_address_lookup::MdnsAddressLookup;
use sync_types::Code;

use super::names::SystemNames;
use crate::SyncError;

/// What mailboxes are called in the local network (RFC 6763 §7): `_ksync._udp`.
const SERVICE: &str = "ksync";
/// How often a device asks the local network, unless somebody else just did.
const CADENCE: Duration = Duration::from_secs(3);

/// How mailboxes of members are found that are not where the group saw them last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Discovery {
    /// Not at all.
    Off,
    /// In the local network, by multicast DNS.
    Lan,
    /// In the local network, and by the servers that n0 runs for everybody who uses iroh.
    #[default]
    Public,
    /// In the local network, and by servers of one's own.
    Servers {
        /// An iroh relay: `https://host[:port]`.
        relay: String,
        /// A pkarr relay, with which mailboxes leave word where they are: `https://host[:port]/path`.
        lookup: String,
    },
}

impl FromStr for Discovery {
    type Err = SyncError;

    /// Reads `off`, `lan`, `public`, or `RELAY,LOOKUP`, the URLs of two servers.
    fn from_str(text: &str) -> Result<Self, SyncError> {
        match (text, text.split_once(',')) {
            ("off", _) => Ok(Self::Off),
            ("lan", _) => Ok(Self::Lan),
            ("public", _) => Ok(Self::Public),
            (_, Some((relay, lookup))) if is_url(relay) && is_url(lookup) => {
                Ok(Self::Servers { relay: relay.to_owned(), lookup: lookup.to_owned() })
            }
            _ => Err(SyncError::new(
                Code::InvalidArgument,
                "discovery is off, lan, public, or the URLs of an iroh relay and a pkarr relay with a comma between",
            )),
        }
    }
}

impl fmt::Display for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Lan => f.write_str("lan"),
            Self::Public => f.write_str("public"),
            Self::Servers { relay, lookup } => write!(f, "{relay},{lookup}"),
        }
    }
}

fn is_url(text: &str) -> bool {
    let web = text.starts_with("https://") || text.starts_with("http://");
    web && text.parse::<RelayUrl>().is_ok()
}

/// Trusts the certificates that the system trusts.
pub(super) fn system_roots() -> CaTlsConfig {
    CaTlsConfig::custom_server_cert_verifier(Arc::new(|provider| {
        let verifier = rustls_platform_verifier::Verifier::new(provider);
        Ok(Arc::new(verifier.map_err(std::io::Error::other)?))
    }))
}

impl Discovery {
    /// Whether anything is to be found by its key.
    pub(super) fn is_on(&self) -> bool {
        *self != Self::Off
    }

    /// An endpoint that finds others.
    pub(super) fn looking(&self, builder: Builder) -> Builder {
        let lan = MdnsAddressLookup::builder().service_name(SERVICE).discovery_cadence(CADENCE).advertise(false);
        match self.servers() {
            Some((_, lookup)) => self.network(builder).address_lookup(PkarrResolver::builder(lookup.into())),
            None => self.network(builder),
        }
        .address_lookup(lan)
    }

    /// An endpoint that others find.
    #[cfg(feature = "embedded-relay")]
    pub(crate) fn announced(&self, builder: Builder) -> Builder {
        let lan = MdnsAddressLookup::builder().service_name(SERVICE).discovery_cadence(CADENCE);
        match self.servers() {
            Some((_, lookup)) => self.network(builder).address_lookup(PkarrPublisher::builder(lookup.into())),
            None => self.network(builder),
        }
        .address_lookup(lan)
    }

    /// Uses the servers, but for the lookup.
    fn network(&self, builder: Builder) -> Builder {
        let Some((relays, _)) = self.servers() else { return builder };
        builder
            .relay_mode(relays)
            // The relay that is near is found by measuring.
            .net_report_config(NetReportConfig::default())
            .dns_resolver(DnsResolver::custom(SystemNames))
            .ca_tls_config(system_roots())
    }

    /// Relays, and where to leave and look for word; a `RelayUrl` is a URL like any other.
    fn servers(&self) -> Option<(RelayMode, RelayUrl)> {
        match self {
            Self::Off | Self::Lan => None,
            Self::Public => Some((RelayMode::Default, N0_DNS_PKARR_RELAY_PROD.parse().ok()?)),
            Self::Servers { relay, lookup } => {
                let relay: RelayUrl = relay.parse().ok()?;
                Some((RelayMode::Custom(relay.into()), lookup.parse().ok()?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_may_be_prints_as_it_reads() {
        for text in ["off", "lan", "public", "https://relay.example,https://dns.example/pkarr"] {
            assert_eq!(text.parse::<Discovery>().unwrap().to_string(), text);
        }
        for text in ["", "on", "https://relay.example", "relay.example,dns.example", "ftp://a,https://b", ","] {
            assert_eq!(text.parse::<Discovery>().unwrap_err().code, Code::InvalidArgument, "{text}");
        }
        assert_eq!(Discovery::default(), Discovery::Public);
    }
}

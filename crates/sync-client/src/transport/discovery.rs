//! Finding the mailboxes that members host. Laptops move: where one was when the group heard of it last, it may not be any more. Its
//! key finds it: by multicast DNS in the local network, by servers of iroh's network, with which it leaves word where it is and
//! which carry packets where no direct way is found, and by BitTorrent's distributed hash table (BEP 44), where the same word lies with
//! nobody in particular. None of them is trusted: they see keys, addresses and sealed packets.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use iroh::RelayUrl;
use iroh::address_lookup::{AddrFilter, N0_DNS_PKARR_RELAY_PROD, PkarrPublisher, PkarrResolver};
use iroh::dns::DnsResolver;
use iroh::endpoint::{Builder, NetReportConfig, RelayMode};
use iroh::tls::CaTlsConfig;
use iroh_mainline_address_lookup::DhtAddressLookup;
use iroh_mdns_address_lookup::MdnsAddressLookup;
use n0_mainline::DhtBuilder;
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
    /// The same, and word of where a mailbox is lies in a distributed hash table as well.
    Dht {
        /// Nodes of a table of one's own, `host:port`; none: BitTorrent's. In one of one's own stands where the mailboxes listen, and
        /// n0's servers are left out; in BitTorrent's, which anybody reads, only through which of these servers they are reached.
        nodes: Vec<String>,
    },
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

    /// Reads `off`, `lan`, `public`, `dht`, `dht:HOST:PORT,…`, or `RELAY,LOOKUP`, the URLs of two servers.
    fn from_str(text: &str) -> Result<Self, SyncError> {
        if let Some(nodes) = text.strip_prefix("dht:")
            && nodes.split(',').all(is_place)
        {
            return Ok(Self::Dht { nodes: nodes.split(',').map(str::to_owned).collect() });
        }
        match (text, text.split_once(',')) {
            ("off", _) => Ok(Self::Off),
            ("lan", _) => Ok(Self::Lan),
            ("public", _) => Ok(Self::Public),
            ("dht", _) => Ok(Self::Dht { nodes: Vec::new() }),
            (_, Some((relay, lookup))) if is_url(relay) && is_url(lookup) => {
                Ok(Self::Servers { relay: relay.to_owned(), lookup: lookup.to_owned() })
            }
            _ => Err(SyncError::new(
                Code::InvalidArgument,
                "discovery is off, lan, public, dht, dht:HOST:PORT of one's own nodes, or the URLs of an iroh relay and a pkarr relay \
                 with a comma between",
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
            Self::Dht { nodes } if nodes.is_empty() => f.write_str("dht"),
            Self::Dht { nodes } => write!(f, "dht:{}", nodes.join(",")),
            Self::Servers { relay, lookup } => write!(f, "{relay},{lookup}"),
        }
    }
}

fn is_place(text: &str) -> bool {
    let parts = text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    matches!(parts, Some((host, Ok(port))) if !host.is_empty() && port > 0)
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
    pub(crate) fn is_on(&self) -> bool {
        *self != Self::Off
    }

    /// An endpoint that finds others.
    pub(super) fn looking(&self, builder: Builder) -> Builder {
        let lan = MdnsAddressLookup::builder().service_name(SERVICE).discovery_cadence(CADENCE).advertise(false);
        let mut builder = self.network(builder).address_lookup(lan);
        if let Some((_, lookup)) = self.servers() {
            builder = builder.address_lookup(PkarrResolver::builder(lookup.into()));
        }
        if let Some(table) = self.table() {
            builder = builder.address_lookup(table.no_publish());
        }
        builder
    }

    /// An endpoint that others find.
    #[cfg(feature = "embedded-relay")]
    pub(crate) fn announced(&self, builder: Builder) -> Builder {
        let lan = MdnsAddressLookup::builder().service_name(SERVICE).discovery_cadence(CADENCE);
        let mut builder = self.network(builder).address_lookup(lan);
        if let Some((_, lookup)) = self.servers() {
            builder = builder.address_lookup(PkarrPublisher::builder(lookup.into()));
        }
        if let Some(table) = self.table() {
            builder = builder.address_lookup(table);
        }
        builder
    }

    /// The hash table, as far as it is used.
    fn table(&self) -> Option<iroh_mainline_address_lookup::Builder> {
        let Self::Dht { nodes } = self else { return None };
        let mut node = DhtBuilder::default();
        // The port that BitTorrent is known by is left to others.
        node.port(0);
        let table = DhtAddressLookup::builder();
        if nodes.is_empty() {
            return Some(table.dht_builder(node));
        }
        node.bootstrap(nodes);
        Some(table.dht_builder(node).addr_filter(AddrFilter::unfiltered()))
    }

    /// Uses the servers, but for the lookup.
    pub(super) fn network(&self, builder: Builder) -> Builder {
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
            Self::Dht { nodes } if !nodes.is_empty() => None,
            Self::Public | Self::Dht { .. } => Some((RelayMode::Default, N0_DNS_PKARR_RELAY_PROD.parse().ok()?)),
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
        let servers = "https://relay.example,https://dns.example/pkarr";
        for text in ["off", "lan", "public", "dht", "dht:one.example:6881", "dht:one.example:1,[::1]:2", servers] {
            assert_eq!(text.parse::<Discovery>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "on",
            "https://relay.example",
            "relay.example,dns.example",
            "ftp://a,https://b",
            ",",
            "dht:",
            "dht:a",
            "dht:a:0",
            "dht::1",
        ] {
            assert_eq!(text.parse::<Discovery>().unwrap_err().code, Code::InvalidArgument, "{text}");
        }
        assert_eq!(Discovery::default(), Discovery::Public);
    }
}

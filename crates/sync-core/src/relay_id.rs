//! Which of a group's relays something is about.

use std::fmt;

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use sync_rules::hash::labelled;
use sync_types::RelayAddress;
use sync_types::settings::Settings;

/// A relay as one device keeps it apart from others: by the address that the group's settings name. It never travels.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, MlsSize, MlsEncode, MlsDecode)]
pub struct RelayId(pub [u8; 16]);

impl RelayId {
    /// The relay with this address, a text without token. A mailbox that a member hosts is the same wherever it is, and whatever
    /// key the member has: its own key alone counts.
    pub fn of(address: &str) -> Self {
        let address = match address.strip_prefix("embedded://") {
            Some(rest) => &address[..address.len() - rest.len() + rest.find(['@', '/']).unwrap_or(rest.len())],
            None => address,
        };
        let hash = labelled("relay", address.as_bytes());
        Self(std::array::from_fn(|i| hash[i]))
    }

    /// Its bytes, or `None` for another length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayId({self})")
    }
}

/// The relays that settings name, in their order, each once; what cannot be read is left out. Where none is named, there is
/// one all the same, whose id is zero: tests have such groups.
pub fn relays_of(settings: &Settings) -> Vec<(RelayId, Option<RelayAddress>)> {
    let mut list: Vec<(RelayId, Option<RelayAddress>)> = Vec::new();
    for text in settings.relays.iter().filter_map(|text| std::str::from_utf8(text).ok()) {
        let id = RelayId::of(text);
        if let Ok(address) = text.parse::<RelayAddress>()
            && list.iter().all(|(known, _)| *known != id)
        {
            list.push((id, Some(address)));
        }
    }
    if list.is_empty() {
        list.push((RelayId::default(), None));
    }
    list
}

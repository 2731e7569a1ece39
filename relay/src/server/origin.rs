//! Where streams come from, and which endpoints are members' at present.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::admission::{self, Peer};
use crate::config::Access;
use crate::mailbox::View;

/// Where a stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The process that the relay runs in.
    Process,
    /// An endpoint, by its key, and its address if it is reached at one.
    Endpoint { peer: Peer, ip: Option<IpAddr> },
}

impl Origin {
    /// What counts as one address, for whoever comes from one.
    pub(super) fn network(self) -> Option<IpAddr> {
        match self {
            Self::Endpoint { ip, .. } => ip.map(admission::network),
            Self::Process => None,
        }
    }
}

/// How many sessions each endpoint has attached as a present member of a group.
#[derive(Debug, Default)]
pub(super) struct Members(Mutex<HashMap<Peer, usize>>);

/// One attached session of a member; counts while it lives.
#[derive(Debug)]
pub(super) struct MemberHere {
    members: Arc<Members>,
    peer: Peer,
}

impl Members {
    /// Counters stay right if a holder of the lock panics: each change is one step.
    fn counts(&self) -> MutexGuard<'_, HashMap<Peer, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that whoever is at `origin` may be shown this. `None` for whoever is no member at present, and for the relay's
    /// own process, which needs no note.
    pub(super) fn attached(self: &Arc<Self>, origin: Origin, view: View) -> Option<MemberHere> {
        let Origin::Endpoint { peer, .. } = origin else { return None };
        // A former member's view ends at its removal, and a newcomer's begins when its commit is final.
        if view.until != u64::MAX {
            return None;
        }
        *self.counts().entry(peer).or_default() += 1;
        Some(MemberHere { members: self.clone(), peer })
    }

    /// Whether a pairing may be shown here by whoever is at `origin`.
    pub(super) fn may_show(&self, access: &Access, origin: Origin) -> bool {
        match (access, origin) {
            (Access::Own, Origin::Endpoint { peer, .. }) => self.counts().contains_key(&peer),
            _ => true,
        }
    }
}

impl Drop for MemberHere {
    fn drop(&mut self) {
        let mut counts = self.members.counts();
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

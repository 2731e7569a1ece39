//! A build that cannot host a relay.

use std::net::SocketAddr;

use sync_core::Device;
use sync_types::{Code, RelayAddress};

use crate::SyncError;
use crate::home::Home;
use crate::store::Store;
use crate::transport::{Discovery, LocalRelays};

pub(super) enum Port {
    Free,
    Named,
}

pub(super) struct Hosting;

impl Hosting {
    pub(super) async fn new(_: &Home, _: Option<SocketAddr>, _: Discovery, _: &mut Store) -> Result<Self, SyncError> {
        Ok(Self)
    }

    pub(super) fn is(&self, _: &RelayAddress) -> bool {
        false
    }

    pub(super) fn is_running(&self) -> bool {
        false
    }

    pub(super) fn has_failed(&self) -> bool {
        true
    }

    pub(super) async fn ensure(&mut self, _: &LocalRelays, _: &mut Store, _: Port) -> Result<RelayAddress, SyncError> {
        Err(SyncError::new(Code::AddressInvalid, "this build has no embedded relay"))
    }

    pub(super) fn leave(&mut self, _: Option<&Device<super::Crypto>>) -> bool {
        false
    }

    pub(super) async fn stop(&mut self) {}
}

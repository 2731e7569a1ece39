//! Which relays the group uses.

use sync_types::RelayAddress;

use super::SyncClient;
use crate::engine::Command;
use crate::{RelayState, SyncError};

impl SyncClient {
    /// The group's relays in their order, and how this device stands with each.
    ///
    /// # Errors
    /// `Code::Closed`.
    pub async fn relays(&self) -> Result<Vec<RelayState>, SyncError> {
        Ok(self.ask(|reply| Command::Status { reply }).await?.relay_states)
    }

    /// Has the group use these relays, in this order: everything goes to each, and the first orders the changes of the group.
    /// A token behind an address stays on this device; whoever brings the group to a relay that wants one needs it. Durable
    /// when this returns; `ClientEvent::RelaysChanged` tells when it is done, which takes the relay that is the first now.
    ///
    /// # Errors
    /// `Code::InvalidArgument` for an empty list, more than `limits::RELAYS`, one that names a relay twice, or `embedded`;
    /// `Code::NotInGroup`.
    pub async fn set_relays(&self, relays: Vec<RelayAddress>) -> Result<(), SyncError> {
        self.ask(|reply| Command::SetRelays { relays, reply }).await
    }

    /// Takes the first relay off the list, because a person says that it will not come back; the next one takes its place.
    /// What the first one ordered that no other relay has heard of counts no more: devices that went on with that take a new
    /// key, and those that were added by it pair again.
    ///
    /// # Errors
    /// `Code::RelayAnswers` while this device is connected to it; `Code::RelayUnreachable` while no other relay can be
    /// reached; `Code::InvalidArgument` where there is no other.
    pub async fn give_up_first_relay(&self) -> Result<(), SyncError> {
        self.ask(|reply| Command::GiveUpFirstRelay { reply }).await
    }
}

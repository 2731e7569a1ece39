//! What the group's cryptography is made of.

use sync_types::Suite;

use super::SyncClient;
use crate::SyncError;
use crate::engine::Command;

impl SyncClient {
    /// Moves the group to another suite. Each device has to come online once for that; `Status::moving` says who has not.
    /// Durable when this returns; `ClientEvent::SettingsChanged` with `Setting::Suite` tells when it is done, on every device.
    /// The group's recovery kit, if it has one, ends with the suite that it was made for: make a new one when it is done.
    ///
    /// To move to the suite that the group has changes nothing, and takes back a move that waits.
    ///
    /// # Errors
    /// `Code::Suite` if this build takes part in no groups of that suite; `Code::NotInGroup`.
    pub async fn move_to_suite(&self, suite: Suite) -> Result<(), SyncError> {
        self.ask(|reply| Command::MoveToSuite { suite, reply }).await
    }
}

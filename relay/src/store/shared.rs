//! What relays that share a store tell each other, beside the rows themselves.

use std::collections::BTreeSet;

use sync_types::{DeviceId, GroupId, Opaque};
use tokio::sync::mpsc;

use super::{SharedContent, StoreFuture};

/// A store over which several relays work at once, each with its own sessions.
pub trait Shared: Send + Sync {
    /// What other relays do, from now on. For one taker; `None` for whoever comes second.
    fn heard(&self) -> Option<mpsc::Receiver<Heard>>;

    /// Notes behind which cursor a relay that starts now wants to go on, and says behind which one all have to: the
    /// furthest that any relay on this store has ever named. All go on behind the same, since what one relay calls the newest
    /// cursor must not be unknown to another, to which the same device may come next.
    fn begin(&self, first_cursor: u64) -> StoreFuture<'_, u64>;

    /// What is to be known of a group beside its rows. What was written there by other relays before the rows were loaded is
    /// in it, if it is asked after they were.
    fn elsewhere(&self, group: GroupId) -> StoreFuture<'_, Elsewhere>;

    /// Those of these groups to which another relay has written since they were last loaded or committed here.
    fn changed(&self, groups: Vec<GroupId>) -> StoreFuture<'_, Vec<GroupId>>;

    /// Tells the other relays. Never waits: it goes out a moment later. What is kept nowhere may be lost.
    fn tell(&self, news: News);

    /// Where pairings meet whose two devices have come to different relays.
    fn meeting(&self) -> &dyn Meeting;

    /// Where large content lies that was given to any of the relays.
    fn content(&self) -> &dyn SharedContent;
}

/// A relay among those that share a store: a number that it draws when it starts.
pub type Node = i64;

/// Where pairings meet whose two devices have come to different relays: each slot is at one of these, and the others hand that one what
/// their devices say.
pub trait Meeting: Send + Sync {
    /// This relay.
    fn node(&self) -> Node;

    /// Notes that the slot of this name is here for so many milliseconds, unless another relay that lives has it. Says whether
    /// it is.
    fn announce(&self, name: Vec<u8>, ttl_ms: u64) -> StoreFuture<'_, bool>;

    /// At which relay the slot of this name is, if it is anywhere.
    fn find(&self, name: Vec<u8>) -> StoreFuture<'_, Option<Node>>;

    /// The slot of this name is here no more, and was never used.
    fn withdraw(&self, name: Vec<u8>) -> StoreFuture<'_, ()>;

    /// Hands other relays these bytes. Each gets what it is sent by one relay in the order in which that sent it.
    fn send(&self, letters: Vec<(Node, Vec<u8>)>) -> StoreFuture<'_, ()>;

    /// What others have sent to this relay, with who did: waits for it. Empty now and then, also after a relay has stopped:
    /// then it is time to look at [`Meeting::alive`].
    fn receive(&self) -> StoreFuture<'_, Vec<(Node, Vec<u8>)>>;

    /// The relays that live. One that crashed counts as one of them for a minute and a half.
    fn alive(&self) -> StoreFuture<'_, BTreeSet<Node>>;
}

/// What is to be known of a group beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Who is attached to it at other relays. May lag behind by as long as a message takes, and by a minute and a half for a
    /// relay that has crashed.
    pub attached: BTreeSet<DeviceId>,
    /// What [`Shared::begin`] would say now.
    pub first_cursor: u64,
    /// Higher than any that was given out before, to whichever relay: puts what a device does at several relays in order.
    pub number: u64,
}

/// What a relay tells the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A device is attached here now, and nowhere else, unless it is under a higher number.
    Attached {
        /// The group.
        group: GroupId,
        /// Which device.
        device: DeviceId,
        /// [`Elsewhere::number`] as it was asked for this device.
        number: u64,
    },
    /// A device is attached here no more.
    Detached(GroupId, DeviceId),
    /// Somebody's presence.
    Presence {
        /// The group.
        group: GroupId,
        /// Whose.
        from: DeviceId,
        /// The ephemeral envelope.
        envelope: Opaque,
    },
    /// This member, which is not attached here, is asked to renew its keys.
    Renew(GroupId, DeviceId),
}

/// What a relay hears of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Another relay has written to this group.
    Group(GroupId),
    /// Another relay tells this.
    News(News),
    /// Something may have been missed, or it is time to look: ask [`Shared::changed`].
    Look,
}

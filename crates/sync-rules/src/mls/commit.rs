//! The outside of a commit, before any group looks at it.

use mls_rs::{MlsMessage, MlsMessageDescription, group::ContentType, group::Sender};
use sync_types::frame::{MOVE, Move};
use sync_types::{EntryHash, GroupId, limits};

use super::Lineage;
use crate::labelled;

/// Bytes that are no commit of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotACommit {
    /// The bytes are no MLS message, or not in its one canonical form.
    #[error("the bytes are no MLS message")]
    Malformed,
    /// The message is not a readable commit.
    #[error("the message is not a public commit")]
    OtherMessage,
    /// The group id is not one of ours.
    #[error("the group id is not one of ours")]
    GroupId,
    /// The commit's sender is neither in the group nor about to come into it by this commit.
    #[error("the commit is of no member")]
    Sender,
    /// The commit does not renew its committer's keys.
    #[error("the commit has no path")]
    NoPath,
    /// The committer's new leaf carries extensions of its own.
    #[error("the committer's leaf carries extensions")]
    LeafExtensions,
}

/// A commit of a member, or of one that takes another's place by it, as it travelled. Its signature and contents are not checked yet.
#[derive(Clone, Debug)]
pub struct CommitMessage {
    /// The group that it is for.
    pub group: GroupId,
    /// The epoch that it ends.
    pub epoch: u64,
    /// The committer's place in the tree; `None` for an external commit.
    pub sender: Option<u32>,
    /// The hash of its bytes under the label `commit`.
    pub hash: EntryHash,
    /// The message, for the group to process.
    pub message: MlsMessage,
    /// What came with it, if it ends the group.
    pub moved: Option<Box<Move>>,
}

impl CommitMessage {
    /// The hash by which a commit is known.
    pub fn hash(bytes: &[u8]) -> EntryHash {
        EntryHash(labelled("commit", bytes))
    }

    /// Reads a commit.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotACommit> {
        // A path's empty parts are a byte on the wire and dozens in memory.
        if bytes.len() > limits::COMMIT_BYTES {
            return Err(NotACommit::Malformed);
        }
        let moved = match bytes.starts_with(&MOVE.to_be_bytes()) {
            true => Some(Box::new(sync_types::decode::<Move>(bytes).map_err(|_| NotACommit::Malformed)?)),
            false => None,
        };
        let message = message(moved.as_ref().map_or(bytes, |moved| &moved.commit))?;
        let MlsMessageDescription::PublicProtocolMessage { group_id, epoch_id, content_type, sender, .. } =
            message.description()
        else {
            return Err(NotACommit::OtherMessage);
        };
        if content_type != ContentType::Commit {
            return Err(NotACommit::OtherMessage);
        }
        let sender = match sender {
            Sender::Member(leaf) => Some(leaf),
            Sender::NewMemberCommit => None,
            _ => return Err(NotACommit::Sender),
        };
        let leaf = message.commit_path_leaf_node().ok_or(NotACommit::NoPath)?;
        if !leaf.extensions.is_empty() {
            return Err(NotACommit::LeafExtensions);
        }
        let lineage = Lineage::of(group_id).ok_or(NotACommit::GroupId)?;
        Ok(Self {
            group: lineage.group,
            epoch: lineage.epoch(epoch_id).ok_or(NotACommit::GroupId)?,
            sender,
            hash: Self::hash(bytes),
            message,
            moved,
        })
    }
}

/// Reads any MLS message; refuses a second encoding of it.
pub(crate) fn message(bytes: &[u8]) -> Result<MlsMessage, NotACommit> {
    if bytes.len() > limits::FRAME_BYTES {
        return Err(NotACommit::Malformed);
    }
    let message = MlsMessage::from_bytes(bytes).map_err(|_| NotACommit::Malformed)?;
    match message.to_bytes() {
        Ok(again) if again == bytes => Ok(message),
        _ => Err(NotACommit::Malformed),
    }
}

//! How content goes: when every member has it, its time is over, or its group is deleted.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use sync_types::frame::About;
use sync_types::{ContentHash, DeviceId, GroupId};

use super::{Asker, Coming, Contents, GROUPS, Kept, failed_book};
use crate::mailbox::Refusal;
use crate::store::{ContentBook, Store};

impl Contents {
    /// If the group has changed: what everybody who is left has goes.
    pub(super) async fn look_at_members(&self, kept: &Kept, by: &Asker) -> Result<(), Refusal> {
        let seen = || self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if seen().get(&by.group) == Some(&by.members) {
            return Ok(());
        }
        self.collect(kept, by.group, &by.members, None).await?;
        self.count(kept).await;
        let mut members = seen();
        if members.len() >= GROUPS {
            members.clear();
        }
        members.insert(by.group, by.members.clone());
        Ok(())
    }

    /// Deletes what every member has, of these or of all.
    pub(super) async fn collect(
        &self,
        kept: &Kept,
        group: GroupId,
        members: &BTreeSet<DeviceId>,
        of: Option<Vec<ContentHash>>,
    ) -> Result<(), Refusal> {
        for (hash, holders) in self.book(kept).held(group, of).await.map_err(failed_book)? {
            if members.is_subset(&holders) {
                self.forget(kept, group, hash).await?;
            }
        }
        Ok(())
    }

    /// Who has what has just come may have said so meanwhile.
    pub(super) async fn collect_now(&self, kept: &Kept, coming: &Coming) -> Result<(), Refusal> {
        let (group, hash) = (coming.by.group, coming.content.hash);
        let holders = self.book(kept).holders(group, hash).await.map_err(failed_book)?;
        if coming.by.members.is_subset(&holders) {
            self.forget_now(kept, group, hash).await?;
        }
        Ok(())
    }

    /// Deletes content. What is just being taken is looked at again at the end of that.
    pub(super) async fn forget(&self, kept: &Kept, group: GroupId, hash: ContentHash) -> Result<(), Refusal> {
        match self.at_work.begin(hash) {
            Some(_busy) => self.forget_now(kept, group, hash).await,
            // The copy goes when that is done, or by the next round.
            None if self.shared().is_some() => self.strike(kept, group, hash).await,
            None => Ok(()),
        }
    }

    pub(super) async fn forget_now(&self, kept: &Kept, group: GroupId, hash: ContentHash) -> Result<(), Refusal> {
        // In this order: what is not known is nobody's, and nobody is given it.
        self.strike(kept, group, hash).await?;
        self.drop_copy_now(kept, group, hash).await
    }

    pub(super) async fn strike(&self, kept: &Kept, group: GroupId, hash: ContentHash) -> Result<(), Refusal> {
        if self.book(kept).forget(group, hash).await.map_err(failed_book)? {
            self.metrics.content_deleted.add(1);
        }
        self.bury(group, hash).await
    }

    /// Deletes the first of the bytes that were forgotten in a shared store. The others go by rounds.
    pub(super) async fn bury(&self, group: GroupId, hash: ContentHash) -> Result<(), Refusal> {
        match self.shared() {
            Some(store) => store.bury(group, hash).await.map(drop).map_err(failed_book),
            None => Ok(()),
        }
    }

    /// Deletes what is of groups that the store does not know any more: they were deleted while no relay ran.
    pub(crate) async fn forget_unknown(&self, known: &dyn Store) -> Result<(), Refusal> {
        let Some(kept) = self.kept_before().await else { return Ok(()) };
        for group in kept.ledger.groups().await.map_err(failed_book)? {
            let found = known.load(group).await.map_err(|e| Refusal::of_store(About::Session, &e))?;
            if found.is_none() {
                self.forget_group(group).await?;
            }
        }
        self.count(kept).await;
        Ok(())
    }

    /// Deletes all content of a group.
    pub(crate) async fn forget_group(&self, group: GroupId) -> Result<(), Refusal> {
        let kept = self.kept_before().await;
        let book = match (self.shared(), kept) {
            (Some(shared), _) => shared,
            (None, Some(kept)) => self.book(kept),
            (None, None) => return Ok(()),
        };
        let mut hashes: BTreeSet<_> = book.of(group).await.map_err(failed_book)?.into_iter().collect();
        if let Some(kept) = kept {
            hashes.extend(kept.ledger.of(group).await.map_err(failed_book)?);
            for hash in hashes {
                self.forget(kept, group, hash).await?;
            }
            kept.ledger.forget_holders(group).await.map_err(failed_book)?;
            self.count(kept).await;
        }
        book.forget_holders(group).await.map_err(failed_book)
    }

    /// Deletes what came before this moment of the relay's own time, whoever lacks it still, and copies of what is gone.
    pub(crate) async fn expire(&self, before_ms: u64) -> Result<(), Refusal> {
        let kept = self.kept_before().await;
        if let Some(store) = self.shared() {
            for (group, hash) in store.older_than(before_ms).await.map_err(failed_book)? {
                if store.forget(group, hash).await.map_err(failed_book)? {
                    self.metrics.content_deleted.add(1);
                }
                while store.bury(group, hash).await.map_err(failed_book)? {}
            }
            store.forget_old_holders(before_ms).await.map_err(failed_book)?;
            if let Some(kept) = kept {
                self.hand_in(kept, store).await?;
                self.drop_copies(kept, store).await?;
            }
        } else if let Some(kept) = kept {
            for (group, hash) in kept.ledger.older_than(before_ms).await.map_err(failed_book)? {
                self.forget(kept, group, hash).await?;
            }
            kept.ledger.forget_old_holders(before_ms).await.map_err(failed_book)?;
        }
        if let Some(kept) = kept {
            self.count(kept).await;
        }
        Ok(())
    }
}

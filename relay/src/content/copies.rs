//! What goes between the folder and a store that several relays share.

use std::collections::BTreeSet;
use std::sync::Arc;

use sync_content::ContentStore;
use sync_types::frame::ContentAnswer;
use sync_types::{Code, ContentHash, GroupId, Sealed};

use super::ledger::Entry;
use super::shared::{self, Failed};
use super::{AGAIN_MS, Asker, Coming, Contents, Kept, failed, failed_book, refuse};
use crate::mailbox::Refusal;
use crate::seldom::Seldom;
use crate::store::{Begun, ContentBook, NewContent, SharedContent};

impl Contents {
    /// Begins to get content from the shared store into the folder, unless something else is done with it now.
    pub(super) fn fetch(self: &Arc<Self>, by: &Asker, content: Sealed) -> Result<(), Refusal> {
        let Some(busy) = self.at_work.begin(content.hash) else { return Ok(()) };
        self.room_for(content.size)?;
        let (this, place, group, at_ms) = (self.clone(), self.place(by.group)?, by.group, by.at_ms);
        self.spawn(async move {
            this.fetched(group, content, at_ms).await;
            drop((busy, place));
        });
        Ok(())
    }

    async fn fetched(&self, group: GroupId, content: Sealed, at_ms: u64) {
        let (Ok(kept), Some(store)) = (self.kept().await, self.shared()) else { return };
        let fetched = async {
            kept.ledger.expect(group, content, at_ms, false).await?;
            shared::fetch(&kept.folder, store, group, content).await?;
            Ok(kept.ledger.whole(group, content, at_ms).await?)
        };
        match fetched.await {
            Ok(_) => self.count(kept).await,
            Err(failed) => self.note(kept, group, content, &failed).await,
        }
    }

    /// All of it came, and the shared store lacks some: nothing more is asked of whoever gives it.
    pub(super) async fn goes_on(self: &Arc<Self>, kept: &Kept, coming: Coming) -> Result<ContentAnswer, Refusal> {
        let (group, content) = (coming.by.group, coming.content);
        kept.ledger.whole(group, content, coming.by.at_ms).await.map_err(failed_book)?;
        self.upload(coming);
        self.rest(content.hash).await;
        let known = self.book(kept).find(group, content.hash).await.map_err(failed_book)?;
        if known.is_some_and(|known| known.whole) {
            return Ok(ContentAnswer::Held);
        }
        Err(refuse(Code::RateLimited, "it is not where all relays find it yet").retry_after(AGAIN_MS))
    }

    /// Begins to put what came whole into the shared store.
    pub(super) fn upload(self: &Arc<Self>, coming: Coming) {
        let this = self.clone();
        self.spawn(async move { this.uploaded(coming).await });
    }

    /// Puts what came whole into the shared store. Until that is done the relay does not say that it holds it.
    async fn uploaded(&self, coming: Coming) {
        let (Ok(kept), Some(store)) = (self.kept().await, self.shared()) else { return };
        let (group, content, at_ms) = (coming.by.group, coming.content, coming.by.at_ms);
        let uploaded = async {
            shared::upload(&kept.folder, store, group, content).await?;
            if store.whole(group, content, at_ms).await? { Ok(()) } else { Err(Failed::Gone) }
        };
        match uploaded.await {
            Ok(()) => {
                if let Err(refusal) = self.collect_now(kept, &coming).await {
                    tracing::debug!(code = %refusal.code, "content that all have stays for now");
                }
            }
            Err(failed) => self.note(kept, group, content, &failed).await,
        }
        self.count(kept).await;
    }

    /// Does what is to be done where something has failed between the folder and the shared store. The content is busy.
    async fn note(&self, kept: &Kept, group: GroupId, content: Sealed, failed: &Failed) {
        static SELDOM: Seldom = Seldom::new();
        let noted = match failed {
            Failed::Gone => self.drop_copy_now(kept, group, content.hash).await,
            // Whoever has it gives all of it anew, or it is fetched anew.
            Failed::Damaged => kept.ledger.lost(content.hash).await.map_err(failed_book),
            Failed::Forged => match self.shared() {
                Some(store) => store.forget(group, content.hash).await.map(drop).map_err(failed_book),
                None => Ok(()),
            },
            Failed::Store(_) | Failed::Folder(_) => Ok(()),
        };
        let harmless = noted.is_ok() && matches!(failed, Failed::Gone);
        if !harmless && let Some(more) = SELDOM.is_due() {
            tracing::warn!(error = %failed, more, "content did not get between the folder and the store");
        }
    }

    pub(super) async fn looked_at(&self, content: Sealed) {
        let (Ok(kept), Some(_busy)) = (self.kept().await, self.at_work.begin(content.hash)) else { return };
        if !shared::is_sound(&kept.folder, content).await {
            tracing::warn!("the folder's copy of some content is damaged");
            if let Err(error) = kept.ledger.lost(content.hash).await {
                tracing::warn!(%error, "that is not noted");
            }
        }
    }

    /// Hands the shared store what was given to this relay when each of them had its own, which it has said that it holds.
    pub(super) async fn hand_in(&self, kept: &Kept, store: &dyn SharedContent) -> Result<(), Refusal> {
        for (group, hash) in kept.ledger.before_it_was_shared().await.map_err(failed_book)? {
            let Some(_busy) = self.at_work.begin(hash) else { continue };
            let entry = kept.ledger.entry(group, hash).await.map_err(failed_book)?;
            let holders = kept.ledger.holders(group, hash).await.map_err(failed_book)?;
            if let (Some(Entry { size, whole: true, at_ms, .. }), Some(device)) = (entry, holders.first()) {
                let content = Sealed { hash, size };
                let (most_bytes, nothing_here) = (u64::MAX, false);
                let new = NewContent { group, content, device: *device, at_ms, most_bytes, nothing_here };
                if store.begin(new).await.map_err(failed_book)? == Begun::Yes {
                    for device in holders {
                        store.note_had(group, vec![hash], device, at_ms).await.map_err(failed_book)?;
                    }
                    match shared::upload(&kept.folder, store, group, content).await {
                        Ok(()) => drop(store.whole(group, content, at_ms).await.map_err(failed_book)?),
                        Err(Failed::Store(error)) => return Err(failed_book(error)),
                        Err(other) => self.note(kept, group, content, &other).await,
                    }
                }
            }
            kept.ledger.handed_in(group, hash).await.map_err(failed_book)?;
        }
        Ok(())
    }

    /// Deletes what the folder has of a group's content, unless something is done with it, or it is to be handed in.
    pub(super) async fn drop_copy(&self, kept: &Kept, group: GroupId, hash: ContentHash) -> Result<(), Refusal> {
        let handed_in = kept.ledger.holders(group, hash).await.map_err(failed_book)?.is_empty();
        match self.at_work.begin(hash).filter(|_| handed_in) {
            Some(_busy) => self.drop_copy_now(kept, group, hash).await,
            None => Ok(()),
        }
    }

    pub(super) async fn drop_copy_now(&self, kept: &Kept, group: GroupId, hash: ContentHash) -> Result<(), Refusal> {
        kept.ledger.forget(group, hash).await.map_err(failed_book)?;
        if !kept.ledger.is_wanted(hash).await.map_err(failed_book)? {
            kept.folder.forget(hash).await.map_err(|e| failed(&e))?;
        }
        Ok(())
    }

    /// Deletes copies of what the shared store does not have any more.
    pub(super) async fn drop_copies(&self, kept: &Kept, store: &dyn SharedContent) -> Result<(), Refusal> {
        for group in kept.ledger.groups().await.map_err(failed_book)? {
            // In this order: what comes to the ledger is in the store before.
            let copies = kept.ledger.of(group).await.map_err(failed_book)?;
            let known: BTreeSet<_> = store.of(group).await.map_err(failed_book)?.into_iter().collect();
            for hash in copies.into_iter().filter(|hash| !known.contains(hash)) {
                self.drop_copy(kept, group, hash).await?;
            }
        }
        Ok(())
    }
}

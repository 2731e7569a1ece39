//! Pairings whose two devices have come to different relays: where each slot is, and letters from relay to relay, which
//! lie in a table, since NOTIFY carries too little for a message of a pairing.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use super::error::error;
use super::{PostgresStore, payload, texts, wake};
use crate::store::columns::{Columns, blob, number};
use crate::store::{Meeting, Node, StoreError, StoreFuture};

/// After how long it is looked whether something came unheard.
const LOOK: Duration = Duration::from_secs(30);
/// How many letters are taken at once: each has a message of 65,535 bytes at the most, and a few more, so 4 MiB.
const TOGETHER: i64 = 64;

impl PostgresStore {
    async fn deliver(&self, letters: Vec<(Node, Vec<u8>)>) -> Result<(), StoreError> {
        let to: BTreeSet<Node> = letters.iter().map(|(node, _)| *node).collect();
        let (recipients, bodies): (Vec<Node>, Vec<Vec<u8>>) = letters.into_iter().unzip();
        let sent = async {
            let mut transaction = self.meeters.begin().await?;
            let sent = sqlx::query(texts::SEND).bind(recipients).bind(self.node).bind(bodies);
            sent.execute(&mut *transaction).await?;
            let payloads = to.iter().map(|to| payload::of_letters(self.node, *to)).collect();
            wake::notify(&mut transaction, payloads).await?;
            transaction.commit().await
        };
        sent.await.map_err(|e| error(&e))
    }

    async fn take_letters(&self) -> Result<Vec<(Node, Vec<u8>)>, StoreError> {
        let asked = sqlx::query(texts::RECEIVE).bind(self.node).bind(TOGETHER);
        let rows = asked.fetch_all(&self.meeters).await.map_err(|e| error(&e))?;
        rows.iter().map(|row| Ok((node(row)?, blob(row, 1)?.to_vec()))).collect()
    }
}

fn node(row: &impl Columns) -> Result<Node, StoreError> {
    row.integer(0)?.ok_or_else(|| StoreError::Corrupt("a column holds no node".into()))
}

impl Meeting for PostgresStore {
    fn node(&self) -> Node {
        self.node
    }

    fn announce(&self, name: Vec<u8>, ttl_ms: u64) -> StoreFuture<'_, bool> {
        let asked = sqlx::query(texts::ANNOUNCE).bind(name).bind(self.node).bind(number(ttl_ms));
        Box::pin(self.bounded(async move {
            let found = asked.fetch_optional(&self.meeters).await.map_err(|e| error(&e))?;
            Ok(found.is_some())
        }))
    }

    fn find(&self, name: Vec<u8>) -> StoreFuture<'_, Option<Node>> {
        let asked = sqlx::query(texts::FIND).bind(name);
        Box::pin(self.bounded(async move {
            let found = asked.fetch_optional(&self.meeters).await.map_err(|e| error(&e))?;
            found.map(|row| node(&row)).transpose()
        }))
    }

    fn withdraw(&self, name: Vec<u8>) -> StoreFuture<'_, ()> {
        let asked = sqlx::query(texts::WITHDRAW).bind(name).bind(self.node);
        Box::pin(self.bounded(async move { asked.execute(&self.meeters).await.map(drop).map_err(|e| error(&e)) }))
    }

    fn send(&self, letters: Vec<(Node, Vec<u8>)>) -> StoreFuture<'_, ()> {
        Box::pin(self.bounded(self.deliver(letters)))
    }

    fn receive(&self) -> StoreFuture<'_, Vec<(Node, Vec<u8>)>> {
        Box::pin(async {
            // Whether it is over or set off, it is time to look.
            let _ = timeout(LOOK, self.post.notified()).await;
            let letters = self.bounded(self.take_letters()).await;
            // They lie there still: nobody says so once more.
            let letters = letters.inspect_err(|_| self.post.notify_one())?;
            if letters.len() as i64 == TOGETHER {
                self.post.notify_one();
            }
            Ok(letters)
        })
    }

    fn alive(&self) -> StoreFuture<'_, BTreeSet<Node>> {
        Box::pin(self.bounded(async {
            let rows = sqlx::query(texts::ALIVE).fetch_all(&self.meeters).await.map_err(|e| error(&e))?;
            rows.iter().map(node).collect()
        }))
    }
}

//! What a running relay looks at now and then: the file of access tokens, and what changes slowly in the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use crate::config::Access;
use crate::hub::now_ms;
use crate::metrics::Metrics;
use crate::tokens::{Reloaded, Tokens};

/// How often the file is read.
const TOKENS_EVERY: Duration = Duration::from_secs(1);
/// How often the store is asked.
const SURVEY_EVERY: Duration = Duration::from_secs(60);

/// Starts looking.
pub(super) fn start(tasks: &mut JoinSet<()>, shared: &Arc<Shared>, max_lag_ms: u64) {
    shared.metrics.tokens.set(-1);
    if let Access::Tokens(tokens) = &shared.access {
        tasks.spawn(watch_tokens(tokens.clone(), shared.metrics.clone()));
    }
    tasks.spawn(survey(shared.clone(), max_lag_ms));
}

async fn watch_tokens(tokens: Tokens, metrics: Arc<Metrics>) {
    let mut ticks = interval(TOKENS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let file = tokens.clone();
        let Ok(outcome) = tokio::task::spawn_blocking(move || file.reload()).await else { continue };
        match outcome {
            Reloaded::Same => {}
            Reloaded::Changed(known) => {
                tracing::info!(known, usable = tokens.usable(now_ms()), "the access tokens were read again");
            }
            Reloaded::Failed(reason) => {
                tracing::error!(%reason, "the access tokens cannot be read again; those of before hold");
            }
        }
        metrics.token_file_broken.set(i64::from(tokens.problem().is_some()));
        metrics.tokens.set(tokens.usable(now_ms()) as i64);
    }
}

async fn survey(shared: Arc<Shared>, max_lag_ms: u64) {
    if let Some(contents) = &shared.contents
        && let Err(refusal) = contents.forget_unknown(&*shared.store).await
    {
        tracing::warn!(code = %refusal.code, "large content of deleted groups stays for now");
    }
    let mut ticks = interval(SURVEY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let store = &shared.store;
        let surveyed = match store.served().await {
            Ok(served_ms) => {
                let before_ms = served_ms.saturating_sub(max_lag_ms);
                if let Some(contents) = &shared.contents
                    && let Err(refusal) = contents.expire(before_ms).await
                {
                    tracing::warn!(code = %refusal.code, "large content whose time is over stays for now");
                }
                store.survey(before_ms).await
            }
            Err(e) => Err(e),
        };
        match surveyed {
            Ok(found) => {
                shared.metrics.oldest_entry_at.set(found.oldest_at_s.unwrap_or(0) as i64);
                shared.metrics.store_free_bytes.set(found.free_bytes.unwrap_or(0) as i64);
                shared.metrics.lapsed.set(found.lapsed.unwrap_or(0) as i64);
                found.store_bytes.iter().for_each(|size| shared.metrics.store_bytes.set(*size as i64));
            }
            Err(error) => tracing::warn!(%error, "the store cannot be looked through"),
        }
    }
}

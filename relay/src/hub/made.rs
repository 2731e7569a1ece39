//! What there is of each access token: how many groups were made with it and how many bytes they hold, for tokens that are for
//! so much and no more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sync_types::frame::About;
use sync_types::{Code, GroupId, Opaque};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::config::{Access, Admitted};
use crate::mailbox::{GroupState, Limits, Refusal};
use crate::seldom::Seldom;
use crate::store::{Store, StoreError, TokenUse};
use crate::tokens::TokenHash;

/// Counts from the store at first, and from then on by what each decision changes. What another relay does to the same rows is
/// counted when this one hears of it, and from the store now and then.
pub(super) struct Made {
    access: Access,
    counted: HashMap<TokenHash, Used>,
    /// Groups that another relay has changed, until they are loaded.
    left_out: HashSet<GroupId>,
    is_wrong: bool,
    begun: bool,
    /// The counts on their way from the store.
    counting: Option<JoinHandle<Result<Vec<TokenUse>, StoreError>>>,
    /// What has changed since they were asked for.
    since: Vec<Change>,
}

/// When to count again where that failed.
const AGAIN: Duration = Duration::from_secs(1);

impl Drop for Made {
    fn drop(&mut self) {
        // Nobody waits for it any more, while closing the store would.
        if let Some(counting) = &self.counting {
            counting.abort();
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Used {
    groups: u64,
    bytes: u64,
}

/// By how much something changes what there is of a token.
#[derive(Clone, Copy)]
pub(super) struct Change {
    token: TokenHash,
    groups: i64,
    bytes: i64,
}

impl Change {
    /// What a group is of its token, with decisions that are not durable yet; `None` without one.
    pub(super) fn of(state: &GroupState) -> Option<Self> {
        Some(Self { token: state.token()?, groups: 1, bytes: state.counters().bytes as i64 })
    }

    /// What a decision did to its group, which held so many bytes before and may have been `made` by it.
    pub(super) fn since(state: &GroupState, bytes: u64, made: bool) -> Option<Self> {
        let whole = Self::of(state)?;
        Some(Self { groups: i64::from(made), bytes: whole.bytes - bytes as i64, ..whole })
    }
}

impl Made {
    pub(super) fn new(access: Access) -> Self {
        Self {
            access,
            counted: HashMap::new(),
            left_out: HashSet::new(),
            is_wrong: true,
            begun: false,
            counting: None,
            since: Vec::new(),
        }
    }

    /// Has the counts read if they may be wrong. They are waited for when the relay starts, and beside what it does after that,
    /// as that goes over all groups.
    pub(super) async fn load(&mut self, store: &Arc<dyn Store>) {
        if self.is_wrong && self.counting.is_none() && matches!(self.access, Access::Tokens(_)) {
            self.is_wrong = false;
            self.left_out.clear();
            self.since.clear();
            let store = store.clone();
            self.counting = Some(tokio::spawn(async move {
                let found = store.token_use().await;
                if found.is_err() {
                    // It is asked again at once when this ends.
                    sleep(AGAIN).await;
                }
                found
            }));
            if !std::mem::replace(&mut self.begun, true) {
                self.counted().await;
            }
        }
    }

    /// Takes what was counted, once it is; those before hold until then. For ever while nobody counts.
    pub(super) async fn counted(&mut self) {
        let Some(counting) = &mut self.counting else { return std::future::pending().await };
        let found = counting.await.unwrap_or_else(|e| Err(StoreError::Io(e.to_string())));
        self.counting = None;
        match found {
            Ok(found) => {
                let used = found.iter().map(|of| (of.token, Used { groups: of.groups, bytes: of.bytes }));
                self.counted = used.collect();
                for change in std::mem::take(&mut self.since) {
                    self.apply(Some(change));
                }
            }
            Err(error) => {
                self.is_wrong = true;
                static SELDOM: Seldom = Seldom::new();
                if let Some(more) = SELDOM.is_due() {
                    tracing::warn!(%error, more, "it cannot be read what was made with each access token");
                }
            }
        }
    }

    /// The counts may be wrong from now on.
    pub(super) fn recount(&mut self) {
        self.is_wrong = true;
    }

    /// Whether somebody with this token may make one more group.
    pub(super) fn admit(&self, token: &Opaque, within: bool, now_ms: u64) -> Result<Admitted, Refusal> {
        let refusal = |code, message: &'static str| Refusal::new(About::Session, code, message);
        let Some(admitted) = self.access.admits(token, within, now_ms) else {
            return Err(refusal(
                Code::AccessDenied,
                match self.access {
                    Access::Own => "this relay is a device's own: only that device makes groups here",
                    _ => "making a group here wants an access token",
                },
            ));
        };
        if let Admitted::By(grant) = &admitted
            && let Some(most) = grant.groups
            && self.used(&grant.hash).groups >= most
        {
            return Err(refusal(Code::TokenSpent, "as many groups as this access token is for were made with it"));
        }
        Ok(admitted)
    }

    /// What a group may use: less than others, where those that were made with the same token leave it less. What it may hold
    /// for commits beyond that stays its own, so that a device can be removed however much the others hold.
    pub(super) fn limits(&self, state: &GroupState, quotas: Limits) -> Limits {
        let bound = state.token().and_then(|token| Some((token, self.access.most_bytes(&token)?)));
        let Some((token, most)) = bound else { return quotas };
        let others = self.used(&token).bytes.saturating_sub(state.counters().bytes);
        Limits { group_bytes: quotas.group_bytes.min(most.saturating_sub(others)), ..quotas }
    }

    /// Counts what something has changed.
    pub(super) fn apply(&mut self, change: Option<Change>) {
        if let Some(Change { token, groups, bytes }) = change {
            self.add(token, groups, bytes);
        }
    }

    /// Takes back what something had changed, or a whole group that is gone.
    pub(super) fn undo(&mut self, change: Option<Change>) {
        if let Some(Change { token, groups, bytes }) = change {
            self.add(token, -groups, -bytes);
        }
    }

    /// Another relay has changed this group, which is as it was or has what is not written. It counts again when it is loaded.
    pub(super) fn leave_out(&mut self, state: &GroupState) {
        let change = Change::of(state);
        if change.is_some() {
            self.left_out.insert(state.id());
        }
        self.undo(change);
    }

    /// A group was loaded; `None` if there is none.
    pub(super) fn take_in(&mut self, group: GroupId, state: Option<&GroupState>) {
        if self.left_out.remove(&group) {
            self.apply(state.and_then(Change::of));
        }
    }

    fn add(&mut self, token: TokenHash, groups: i64, bytes: i64) {
        // Nobody is bound on a relay that wants no tokens any more.
        if matches!(self.access, Access::Tokens(_)) {
            if self.counting.is_some() {
                self.since.push(Change { token, groups, bytes });
            }
            let used = self.counted.entry(token).or_default();
            used.groups = used.groups.saturating_add_signed(groups);
            used.bytes = used.bytes.saturating_add_signed(bytes);
        }
    }

    fn used(&self, token: &TokenHash) -> Used {
        self.counted.get(token).copied().unwrap_or_default()
    }
}

//! How many groups each access token has made, for tokens that may make so many and no more.

use std::collections::HashMap;

use sync_types::frame::About;
use sync_types::{Code, GroupId, Opaque};

use crate::config::{Access, Admitted};
use crate::mailbox::Refusal;
use crate::seldom::Seldom;
use crate::store::{Store, Write};
use crate::tokens::TokenHash;

/// Counts from the store at first, and again after whatever changes it otherwise than by one group more.
#[derive(Default)]
pub(super) struct Made {
    counted: HashMap<TokenHash, u64>,
    loaded: bool,
}

impl Made {
    /// Reads the counts unless they hold. If the store does not tell, those before hold until it does.
    pub(super) async fn load(&mut self, store: &dyn Store) {
        if self.loaded {
            return;
        }
        match store.token_groups().await {
            Ok(counted) => {
                self.counted = counted.into_iter().collect();
                self.loaded = true;
            }
            Err(error) => {
                static SELDOM: Seldom = Seldom::new();
                if let Some(more) = SELDOM.is_due() {
                    tracing::warn!(%error, more, "it cannot be read how many groups each access token made");
                }
            }
        }
    }

    /// The counts may be wrong from now on.
    pub(super) fn recount(&mut self) {
        self.loaded = false;
    }

    /// Whether somebody with this token may make one more group.
    pub(super) fn admit(
        &self,
        access: &Access,
        token: &Opaque,
        within: bool,
        now_ms: u64,
    ) -> Result<Admitted, Refusal> {
        let refusal = |code, message: &'static str| Refusal::new(About::Session, code, message);
        let Some(admitted) = access.admits(token, within, now_ms) else {
            return Err(refusal(
                Code::AccessDenied,
                match access {
                    Access::Own => "this relay is a device's own: only that device makes groups here",
                    _ => "making a group here wants an access token",
                },
            ));
        };
        if let Admitted::By(grant) = &admitted
            && let Some(most) = grant.groups
            && self.counted.get(&grant.hash).copied().unwrap_or(0) >= most
        {
            return Err(refusal(Code::TokenSpent, "as many groups as this access token is for were made with it"));
        }
        Ok(admitted)
    }

    /// Counts a group that is being made, and says what to write of it.
    pub(super) fn note(&mut self, group: GroupId, admitted: Admitted) -> Vec<Write> {
        let Admitted::By(grant) = admitted else { return Vec::new() };
        *self.counted.entry(grant.hash).or_default() += 1;
        vec![Write::PutToken(group, grant.hash)]
    }
}

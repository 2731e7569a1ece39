//! What the relay does for whoever comes with a recovery kit.

use mls_rs::CryptoProvider;
use sync_relay::mailbox::{CommitContext, Decision, Kit, Limits, Proof, check_kit};
use sync_relay::store::Store;
use sync_types::GroupId;
use sync_types::frame::{About, FromRelay, Recover, Recovery, SnapshotSlot};

use super::{ConnId, Relay};
use crate::model::Op;

impl<P: CryptoProvider + Clone + Send + Sync> Relay<P> {
    /// Somebody comes with a recovery kit.
    pub(super) fn recover(&mut self, conn: ConnId, request: &Recover, proof: &Proof) {
        let none = GroupId([0; 32]);
        let kit = match check_kit(request, proof) {
            Ok(kit) => kit,
            Err(refusal) => return self.refused(Some(conn), none, refusal),
        };
        let groups = super::now(self.store.kits(kit.key())).unwrap_or_default();
        let current = groups.iter().filter(|(_, current)| *current).nth(usize::from(request.skip));
        let Some((group, _)) = current.or(groups.first().filter(|_| request.skip == 0)).copied() else {
            return self.refused(Some(conn), none, Kit::unknown());
        };
        if let Some(client) = self.clients.get_mut(&conn) {
            client.kit = Some((group, kit));
        }
        match self.groups.get(&group).map(|state| state.recoverable(kit)) {
            Some(Ok(decision)) => self.decided(Some(conn), group, About::Session, decision, None),
            Some(Err(refusal)) => self.refused(Some(conn), group, refusal),
            None => self.refused(Some(conn), group, Kit::unknown()),
        }
    }

    pub(super) fn kit_snapshot(&mut self, conn: ConnId, after: Option<SnapshotSlot>) {
        let Some((group, kit)) = self.clients.get(&conn).and_then(|client| client.kit) else { return };
        let found = super::now(self.store.kit_snapshot(group, kit.key(), after)).unwrap_or_default();
        let decision = Decision { reply: Some(FromRelay::KitSnapshot(found)), ..Decision::default() };
        self.decided(Some(conn), group, About::Session, decision, None);
    }

    pub(super) fn recovery(&mut self, conn: ConnId, request: &Recovery, now: u64) {
        let Some((group, kit)) = self.clients.get(&conn).and_then(|client| client.kit) else { return };
        let attached = self.attached(group);
        let Some(state) = self.groups.get_mut(&group) else { return };
        let limits = Limits::default();
        let context = CommitContext { observe: &self.observer, limits: &limits, attached: &attached, now_ms: now };
        let result = state.recover(kit, request, context);
        let epoch = state.epoch();
        let step = self.observer.take();
        match result {
            Ok(decision) => {
                let ordered = !decision.writes.is_empty();
                let op = step.filter(|_| ordered).map(|step| Op::Recovered { device: step.committer, epoch });
                self.decided(Some(conn), group, About::Commit, decision, op);
            }
            Err(refusal) => self.refused(Some(conn), group, refusal),
        }
    }
}

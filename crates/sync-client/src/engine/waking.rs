//! Where this device is woken, told to each relay of its group.

use std::collections::VecDeque;

use data_encoding::HEXLOWER;
use sync_core::RelayId;
use sync_types::frame::{About, FromRelay, ToRelay};
use sync_types::{Code, WakeTarget, decode, encode};

use super::turn::Work;
use super::{Engine, Reply};
use crate::store::Store;
use crate::{SyncError, WakeState};

const TARGET: &str = "wake_target";
/// What stands behind a target that a relay has kept.
const KEPT: &str = " kept";

/// The target, and who asks for a relay's key.
#[derive(Default)]
pub(super) struct Waking {
    target: Option<WakeTarget>,
    /// Whether there ever was one: if not, relays are told nothing.
    said: bool,
    /// Whether a relay has ever kept it.
    kept: bool,
    keys: Vec<Reply<[u8; 65]>>,
}

/// What one relay was told and asked on the present connection.
#[derive(Default)]
pub(super) struct Told {
    asked: VecDeque<Asked>,
    /// What it said to the present target.
    answer: Option<Result<(), Code>>,
}

enum Asked {
    Set,
    Key,
}

impl Waking {
    pub(super) async fn load(store: &mut Store) -> Result<Self, SyncError> {
        let Some(kept) = store.meta(TARGET).await? else { return Ok(Self::default()) };
        let damaged = || SyncError::new(Code::StoreCorrupt, "where this device is woken cannot be read");
        let hex = kept.strip_suffix(KEPT);
        let bytes = HEXLOWER.decode(hex.unwrap_or(&kept).as_bytes()).map_err(|_| damaged())?;
        let target = if bytes.is_empty() { None } else { Some(decode(&bytes).map_err(|_| damaged())?) };
        Ok(Self { target, said: true, kept: hex.is_some(), keys: Vec::new() })
    }

    fn to_text(&self) -> String {
        let hex = self.target.as_ref().map(|target| HEXLOWER.encode(&encode(target))).unwrap_or_default();
        if self.kept { hex + KEPT } else { hex }
    }
}

impl Engine {
    /// Keeps the target, and tells it to the relays that are connected; to the others when they are.
    pub(super) async fn set_wake_target(&mut self, target: Option<WakeTarget>) -> Result<(), SyncError> {
        if let Some(target) = &target {
            target.check().map_err(|message| SyncError::new(Code::InvalidArgument, message))?;
        }
        let keys = std::mem::take(&mut self.waking.keys);
        let before = std::mem::replace(&mut self.waking, Waking { target, said: true, kept: false, keys });
        if let Err(error) = self.store.set_meta(TARGET, &self.waking.to_text()).await {
            self.waking = Waking { keys: std::mem::take(&mut self.waking.keys), ..before };
            return Err(error);
        }
        for relay in self.attached_relays() {
            self.tell_target(relay);
        }
        self.send();
        Ok(())
    }

    /// Asks the group's first relay for its key, now or when it is connected.
    pub(super) fn ask_wake_key(&mut self, reply: Reply<[u8; 65]>) {
        self.waking.keys.push(reply);
        if let Some(relay) = self.attached_relays().into_iter().find(|relay| self.is_first(*relay)) {
            self.ask_key(relay);
            self.send();
        }
    }

    /// A relay has this device attached.
    pub(super) fn attached_for_waking(&mut self, relay: RelayId) {
        if self.waking.said {
            self.tell_target(relay);
        }
        self.waking.keys.retain(|reply| !reply.is_closed());
        if !self.waking.keys.is_empty() && self.is_first(relay) {
            self.ask_key(relay);
        }
    }

    /// Takes a relay's answer; false for a frame that is none to this.
    pub(super) fn take_wake_answer(&mut self, relay: RelayId, frame: &FromRelay, work: &mut Work) -> bool {
        let answer = match frame {
            FromRelay::WakeSet => Ok(None),
            FromRelay::WakeKey(key) => Ok(Some(*key)),
            FromRelay::Refused(refused) if refused.about == About::Wake => Err(refused.code()),
            _ => return false,
        };
        let Some(wire) = self.wires.get_mut(&relay) else { return true };
        match (wire.told.asked.pop_front(), answer) {
            (Some(Asked::Set), answer) => {
                // Of several targets in a row the last one counts.
                if !wire.told.asked.iter().any(|asked| matches!(asked, Asked::Set)) {
                    wire.told.answer = Some(answer.map(|_| ()));
                }
                match answer {
                    Ok(_) if !self.waking.kept => {
                        self.waking.kept = true;
                        work.meta.push((TARGET, self.waking.to_text()));
                    }
                    Ok(_) => {}
                    Err(code) => tracing::warn!(%code, "a relay does not wake this device"),
                }
            }
            (Some(Asked::Key), Ok(Some(key))) => {
                std::mem::take(&mut self.waking.keys).into_iter().for_each(|reply| drop(reply.send(Ok(key))));
            }
            (Some(Asked::Key), answer) => {
                let code = answer.err().unwrap_or(Code::Protocol);
                let error = SyncError::new(code, "the relay gives no key for Web Push");
                std::mem::take(&mut self.waking.keys)
                    .into_iter()
                    .for_each(|reply| drop(reply.send(Err(error.clone()))));
            }
            (None, _) => {}
        }
        true
    }

    /// How it stands with waking this device; `None` if it has no target.
    pub(super) fn wake_state(&self) -> Option<WakeState> {
        self.waking.target.as_ref()?;
        let answers = || self.wires.values().filter_map(|wire| wire.told.answer);
        let refused = answers().find_map(Result::err);
        Some(match refused {
            _ if answers().any(|answer| answer.is_ok()) => WakeState::Registered,
            Some(code) => WakeState::Refused(code),
            None if self.waking.kept => WakeState::Registered,
            None => WakeState::Waiting,
        })
    }

    fn tell_target(&mut self, relay: RelayId) {
        let Some(wire) = self.wires.get_mut(&relay) else { return };
        wire.told.asked.push_back(Asked::Set);
        wire.told.answer = None;
        wire.outgoing.push_back(ToRelay::SetWake(self.waking.target.clone()));
    }

    fn ask_key(&mut self, relay: RelayId) {
        let Some(wire) = self.wires.get_mut(&relay) else { return };
        wire.told.asked.push_back(Asked::Key);
        wire.outgoing.push_back(ToRelay::WakeKey);
    }

    fn attached_relays(&self) -> Vec<RelayId> {
        let relays = self.device.iter().flat_map(|device| device.relays());
        relays.filter(|relay| relay.attached).map(|relay| relay.relay).collect()
    }

    fn is_first(&self, relay: RelayId) -> bool {
        self.device.as_ref().and_then(|device| device.relay_addresses().first().map(|(id, _)| *id)) == Some(relay)
    }
}

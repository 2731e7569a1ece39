//! What the engine tells: events, with names, and the view that everybody may see.

use sync_core::Device;
use sync_core::event::Event;
use sync_core::store::IdConflict;
use sync_types::content::{DIRECT_CHANNEL, RESERVED_CHANNELS};
use sync_types::{Code, DeviceId, RelayAddress, limits};

use super::{Engine, Snapshot};
use crate::{
    ClientEvent, DeviceInfo, DeviceRef, Moving, RelayState, SettingChange, Status, SyncError, SyncTrouble, VaultKind,
};

const DAY_MS: u64 = 24 * 3_600_000;
const EXPIRE_DAYS: u64 = limits::EXPIRE_PEER.as_secs() / (24 * 3600);

impl Engine {
    /// Tells an event to whoever listens.
    pub(super) fn tell(&self, event: ClientEvent) {
        // Nobody has to listen.
        let _ = self.events.send(event);
    }

    fn change(&self, change: &sync_core::SettingChange) -> SettingChange {
        SettingChange { setting: change.setting, by: self.named(change.by), at: change.at }
    }

    fn named(&self, id: DeviceId) -> DeviceRef {
        DeviceRef { id, name: self.device.as_ref().and_then(|d| d.name_of(id)) }
    }

    pub(super) fn tell_conflicts(&self, conflicts: Vec<IdConflict>) {
        for IdConflict { id, sender } in conflicts {
            self.tell(ClientEvent::IdConflict { id, device: self.named(sender) });
        }
    }

    /// Tells that there is more to be read, if a large blob has become readable.
    pub(super) fn tell_readable(&mut self) {
        if self.store.take_readable() {
            self.arrivals += 1;
            self.tell(ClientEvent::Arrived);
        }
    }

    /// Acts on an event of the core, and tells it.
    pub(super) fn core_event(&mut self, event: Event) {
        self.session_event(&event);
        let told = match event {
            Event::Online => ClientEvent::Connected,
            Event::CaughtUp => ClientEvent::CaughtUp,
            Event::Arrived => {
                self.arrivals += 1;
                ClientEvent::Arrived
            }
            Event::Accepted { .. } => ClientEvent::Accepted,
            Event::Delivered { .. } => ClientEvent::Delivered,
            Event::DeviceAdded { device, by } => {
                if let Some(reply) = self.adding.remove(&device) {
                    let _ = reply.send(Ok(device));
                }
                ClientEvent::DeviceAdded { device: self.named(device), by: self.named(by) }
            }
            Event::DeviceRemoved { device, by, exit } => {
                ClientEvent::DeviceRemoved { device: self.named(device), by: self.named(by), exit }
            }
            Event::DeviceReplaced { old, device } => ClientEvent::DeviceReplaced { device: self.named(device), old },
            Event::KeyReplaced { old, code } => {
                let Some(device) = &self.device else { return };
                let device = device.id();
                self.reconnect_now();
                ClientEvent::KeyReplaced { old, device, code }
            }
            Event::RelaysChanged { by } => {
                let Some(device) = &self.device else { return };
                let relays = device.relay_addresses().into_iter().filter_map(|(_, address)| address).collect();
                ClientEvent::RelaysChanged { by: self.named(by), relays }
            }
            Event::DeviceNamed { device } => ClientEvent::DeviceNamed { device: self.named(device) },
            Event::Joined => {
                let Some(device) = &self.device else { return };
                ClientEvent::Joined { group: device.group(), device: device.id() }
            }
            Event::Removed { by, lost, recovered } => ClientEvent::Removed { by: self.named(by), lost, recovered },
            Event::DeviceRecovered { device } => ClientEvent::DeviceRecovered { device: self.named(device) },
            Event::SettingsChanged { setting, by } => ClientEvent::SettingsChanged { setting, by: self.named(by) },
            Event::LeftForKit { channel, refused } => ClientEvent::LeftForKit { channel, refused },
            Event::Lapsed { since } => ClientEvent::Lapsed { since },
            Event::Synced => ClientEvent::Synced,
            Event::HistoryProgress { done, total } => ClientEvent::HistoryProgress { done, total },
            Event::Unusual { outcome, sender } => {
                ClientEvent::Unusual { outcome, device: sender.map(|id| self.named(id)) }
            }
            Event::Withheld { sender, count } => ClientEvent::Withheld { device: self.named(sender), count },
            Event::StalePeer { device, since } => ClientEvent::StalePeer { device: self.named(device), since },
            Event::CommitRejected { by, committer } => {
                ClientEvent::CommitRejected { by: self.named(by), committer: self.named(committer) }
            }
            Event::ChangeFailed { device, code } => {
                if let Some(reply) = self.adding.remove(&device) {
                    let _ = reply.send(Err(SyncError::new(code, "the group did not take the device in")));
                }
                ClientEvent::ChangeFailed { device: self.named(device), code }
            }
            Event::Refused { code, retry_after_ms } => {
                ClientEvent::Refused { code, retry_after_ms: retry_after_ms.into() }
            }
            Event::Halted { code } => ClientEvent::Halted { code },
            Event::Presence { device, channel, data } if channel == DIRECT_CHANNEL => {
                return self.start.doors.heard(device, &data);
            }
            // What other engines tell each other there is no app's.
            Event::Presence { channel, .. } if channel.starts_with(RESERVED_CHANNELS) => return,
            Event::Presence { device, channel, data } => {
                ClientEvent::Presence { device: self.named(device), channel, data }
            }
            // Told with its wait when the connection was dropped.
            Event::Disconnect { .. } => return,
        };
        self.tell(told);
    }

    /// Why it is not syncing.
    pub(super) fn why_not(&self) -> Option<SyncError> {
        if let Some(broken) = &self.broken {
            return Some(broken.error.clone());
        }
        if self.newcomer.is_some() {
            return Some(
                self.trouble
                    .clone()
                    .unwrap_or_else(|| SyncError::new(Code::NotMember, "the other device has not added this one yet")),
            );
        }
        let status = self.device.as_ref()?.status();
        match status.halted {
            Some(Code::Cloned) => {
                return Some(SyncError::new(Code::Cloned, "a copy of this device has taken its place in the group"));
            }
            _ if status.removed => {
                let days = status.away.map_or(0, |away| (away.until - away.since) / DAY_MS);
                let message = match days >= EXPIRE_DAYS {
                    true => format!("this device was silent for {days} days, so that the others have removed it"),
                    false => "this device was removed from its group".to_owned(),
                };
                return Some(SyncError::new(Code::Removed, message));
            }
            Some(code) => return Some(SyncError::new(code, stopped(code))),
            None => {}
        }
        if status.online || !self.life.connects() {
            return None;
        }
        Some(
            self.trouble
                .clone()
                .unwrap_or_else(|| SyncError::new(Code::RelayUnreachable, "the device is connecting to its relay")),
        )
    }

    /// Shows everybody how things stand.
    pub(super) fn publish(&self) {
        let status = self.device.as_ref().map(Device::status);
        let status = status.as_ref();
        let next = Snapshot {
            group: self.device.as_ref().map(Device::group),
            device: self.device.as_ref().map(Device::id),
            sealed: self.store.sealed(),
            accepted: status.map_or(0, |s| s.accepted_seq),
            delivered: status.map_or(0, |s| s.delivered_seq),
            online: status.is_some_and(|s| s.online),
            caught_up: status.is_some_and(|s| s.caught_up),
            wants: status.map_or(0, |s| s.wants.max(usize::from(s.away.is_some()))),
            awaits: self.device.as_ref().is_some_and(Device::awaits),
            arrivals: self.arrivals,
            files: self.store.files(),
            carries: self.carries(),
            alone: self.device.as_ref().is_none_or(Device::is_alone),
            trouble: self.why_not(),
            mode: self.life.mode(),
            stopped: self.broken.is_some() || self.is_stopped() || status.is_some_and(|s| s.removed),
            closed: false,
        };
        self.snapshot.send_if_modified(|now| {
            let changed = *now != next;
            *now = next;
            changed
        });
    }

    fn waiting_for(&self, relays: &[RelayState]) -> Vec<DeviceRef> {
        let own = |relay: &&RelayState| self.hosting.is(&relay.address);
        if relays.iter().any(|relay| relay.connected && !own(&relay)) {
            return Vec::new();
        }
        relays.iter().filter(|relay| !own(relay)).filter_map(|relay| relay.host.clone()).collect()
    }

    /// How things stand, but for what the log knows.
    pub(super) fn status(&self) -> Status {
        let device = self.device.as_ref();
        let status = device.map(Device::status);
        let members = device.map(Device::members).unwrap_or_default();
        let relays = device.map(Device::relay_addresses).unwrap_or_default();
        let stands = device.map(Device::relays).unwrap_or_default();
        let relay_states: Vec<RelayState> = relays
            .into_iter()
            .zip(stands)
            .filter_map(|((relay, address), stands)| {
                let wire = self.wires.get(&relay);
                let trouble = wire.and_then(|wire| wire.trouble.clone());
                let path = wire.and_then(|wire| wire.link.as_ref()?.path);
                let address = address?;
                let host = match &address {
                    RelayAddress::Hosted { device: Some(device), .. } => Some(self.named(*device)),
                    _ => None,
                };
                Some(RelayState {
                    address,
                    host,
                    connected: stands.attached,
                    path: path.filter(|_| stands.attached),
                    caught_up: stands.caught_up,
                    leads: stands.leads,
                    accepted: stands.accepted_seq,
                    trouble: trouble
                        .filter(|_| !stands.attached)
                        .map(|e| SyncTrouble { code: e.code, message: e.message }),
                })
            })
            .collect();
        let relays: Vec<RelayAddress> = relay_states.iter().map(|relay| relay.address.clone()).collect();
        Status {
            group: device.map(Device::group),
            device: device.map(Device::id),
            name: device.map_or_else(|| self.name.clone(), Device::name),
            connected: self.is_online(),
            caught_up: status.as_ref().is_some_and(|s| s.caught_up),
            hosting: self.hosting.is_running() && relays.iter().any(|r| self.hosting.is(r)),
            waiting_for: self.waiting_for(&relay_states),
            relays,
            relay_states,
            outbox: 0,
            unacknowledged: 0,
            devices: members
                .into_iter()
                .map(|m| DeviceInfo { id: m.device, name: m.name, own: m.own, last_seen: m.last_seen })
                .collect(),
            epoch: device.map_or(0, Device::epoch),
            suite: device.map(Device::suite),
            moving: device.and_then(Device::moving).map(|moving| Moving {
                to: moving.to,
                waits_for: moving.waits_for.into_iter().map(|id| self.named(id)).collect(),
            }),
            behind: status.as_ref().map_or(0, |s| s.behind),
            withheld: status.as_ref().map_or(0, |s| s.withheld),
            away_days: status.as_ref().and_then(|s| s.away).map(|away| (away.until - away.since) / DAY_MS),
            recovery_kit: device.is_some_and(Device::has_recovery_kit),
            kit_snapshots: self.kit_snapshots,
            kit_snapshot_refused: device.and_then(Device::kit_snapshot_refused),
            vouches: device.is_some_and(Device::can_vouch),
            setting_changes: device
                .map(Device::setting_changes)
                .unwrap_or_default()
                .iter()
                .map(|c| self.change(c))
                .collect(),
            wants_history: status.is_some_and(|s| s.wants > 0),
            trouble: self.why_not().map(|e| SyncTrouble { code: e.code, message: e.message }),
            mode: self.life.mode(),
            wake: self.wake_state(),
            joining: self.newcomer.is_some(),
            // Known to whoever asks.
            vault: VaultKind::KeyFile,
        }
    }
}

/// Why a device sends nothing any more, or not now.
fn stopped(code: Code) -> String {
    match code {
        Code::RolledBack => "this device was set back to older data".into(),
        Code::OutOfStep => "this device could not follow a change of its group".into(),
        Code::Forked => "devices were shown different histories of the group".into(),
        code => format!("sending has stopped: {code}"),
    }
}

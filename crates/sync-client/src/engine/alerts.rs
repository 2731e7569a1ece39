//! From what the core tells to what a person should hear of.

use std::collections::BTreeMap;

use sync_core::Device;
use sync_core::event::{Event, Exit, Outcome, Setting};
use sync_types::{Code, DeviceId};

use super::Crypto;
use crate::store::{FileNote, Turn};
use crate::{Alert, AlertDevice, AlertKind, SyncError};

/// Whether there is anything in it for a person.
pub(super) fn any(device: &Device<Crypto>) -> bool {
    device.events().iter().any(|event| matches!(event, Event::DeviceNamed { .. }) || told(event).is_some())
}

/// Keeps what the turn brought, and gives what is new. `conflicts` are blobs under a known id, by their senders.
pub(super) async fn keep(
    device: &Device<Crypto>,
    conflicts: BTreeMap<DeviceId, u64>,
    turn: &mut Turn<'_>,
    now: u64,
) -> Result<Vec<Alert>, SyncError> {
    let mut told = Vec::new();
    for event in device.events() {
        if let Event::DeviceNamed { device: named } = event
            && let Some(name) = device.name_of(*named)
        {
            told.extend(turn.name_in_alerts(*named, &name).await?);
        }
    }
    for alert in alerts(device, now) {
        told.extend(turn.alert(alert).await?);
    }
    if device.events().iter().any(changes_readers) {
        turn.note_files(vec![FileNote::Again]).await?;
    }
    for (sender, count) in conflicts {
        let conflict = new(AlertKind::IdConflict, Some(person(device, sender)), None, now);
        told.extend(turn.alert(Alert { count, code: Some(Code::IdConflict), ..conflict }).await?);
    }
    Ok(told)
}

/// Whether there may be a device or a relay now that lacks content which this device has given.
fn changes_readers(event: &Event) -> bool {
    matches!(
        event,
        Event::DeviceAdded { .. }
            | Event::DeviceRecovered { .. }
            | Event::SettingsChanged { setting: Setting::Relays, .. }
    )
}

/// What a device keeps that has lost its group, or left it.
pub(super) fn farewell(lost: bool, now: u64) -> Alert {
    let kind = if lost { AlertKind::Wiped } else { AlertKind::Left };
    // Its id was the group's; a name says nothing about this device to whoever has it.
    let about = AlertDevice { id: DeviceId([0; 16]), name: None, own: true };
    Alert { seen: !lost, ..new(kind, Some(about), None, now) }
}

/// The alerts of a turn: warnings of one kind about one device are one.
fn alerts(device: &Device<Crypto>, now: u64) -> Vec<Alert> {
    let mut all: Vec<Alert> = Vec::new();
    for (event, told) in device.events().iter().filter_map(|event| Some((event, told(event)?))) {
        let Told { kind, about, by, code } = told;
        let about = match about {
            About::Own => Some(device.id()),
            // Whoever forges may claim to be anybody, so that only devices count which are known.
            About::Device(id) => Some(id).filter(|id| device.knows(*id)),
            About::Nobody => None,
        };
        let same = |other: &&mut Alert| {
            kind.is_warning() && (other.kind, other.device.as_ref().map(|d| d.id), other.code) == (kind, about, code)
        };
        if let Some(known) = all.iter_mut().find(same) {
            known.count += 1;
            continue;
        }
        let person = |id| person(device, id);
        let mut alert = Alert { code, ..new(kind, about.map(person), by.map(person), now) };
        match event {
            Event::Withheld { count, .. } => alert.count = *count,
            Event::StalePeer { since, .. } => alert.since = Some(*since),
            Event::DeviceRemoved { device: gone, .. } => alert.since = device.last_heard(*gone),
            _ => {}
        }
        // Whoever did it knows.
        alert.seen = kind == AlertKind::Joined || alert.by.as_ref().is_some_and(|by| by.own);
        all.push(alert);
    }
    all
}

fn new(kind: AlertKind, device: Option<AlertDevice>, by: Option<AlertDevice>, at: u64) -> Alert {
    Alert { number: 0, kind, at, seen: false, device, by, code: None, count: 1, since: None }
}

fn person(device: &Device<Crypto>, id: DeviceId) -> AlertDevice {
    AlertDevice { id, name: device.name_of(id), own: id == device.id() }
}

/// Whom an alert is about.
enum About {
    Own,
    Device(DeviceId),
    Nobody,
}

/// What an event is to a person.
struct Told {
    kind: AlertKind,
    about: About,
    by: Option<DeviceId>,
    /// What explains it.
    code: Option<Code>,
}

fn told(event: &Event) -> Option<Told> {
    use AlertKind as Kind;
    let change =
        |kind, device: &DeviceId, by: Option<DeviceId>| Told { kind, about: About::Device(*device), by, code: None };
    let warning = |kind, about, code| Told { kind, about, by: None, code: Some(code) };
    Some(match event {
        Event::DeviceAdded { device, by } => change(Kind::Linked, device, Some(*by)),
        Event::DeviceRemoved { device, by, exit } => match exit {
            Exit::Removed => change(Kind::Removed, device, Some(*by)),
            Exit::Lost => change(Kind::Lost, device, Some(*by)),
            Exit::Left => change(Kind::Left, device, None),
        },
        Event::DeviceReplaced { device, .. } => change(Kind::Replaced, device, None),
        Event::DeviceRecovered { device } => change(Kind::Recovered, device, None),
        Event::SettingsChanged { setting, by } => {
            let kind = match setting {
                Setting::RecoveryKit => Kind::KitChanged,
                Setting::Relays => Kind::RelaysChanged,
                Setting::History => Kind::HistoryChanged,
                Setting::Suite => Kind::SuiteChanged,
            };
            Told { kind, about: About::Nobody, by: Some(*by), code: None }
        }
        Event::Removed { by, lost, .. } => {
            let kind = if *lost { Kind::Lost } else { Kind::Removed };
            Told { kind, about: About::Own, by: Some(*by), code: Some(Code::Removed) }
        }
        Event::Joined => Told { kind: Kind::Joined, about: About::Own, by: None, code: None },
        Event::KeyReplaced { code, .. } => warning(Kind::Replaced, About::Own, *code),
        Event::Halted { code } => match code {
            // Told once there is a new key; until then it is why nothing is sent.
            Code::RolledBack | Code::OutOfStep => return None,
            Code::Cloned => warning(Kind::Cloned, About::Own, *code),
            Code::Forked => warning(Kind::Forked, About::Nobody, *code),
            code => warning(Kind::Stopped, About::Own, *code),
        },
        Event::ChangeFailed { device, code } => warning(Kind::ChangeFailed, About::Device(*device), *code),
        Event::CommitRejected { by, committer } => {
            Told { by: Some(*by), ..warning(Kind::ChangeUndone, About::Device(*committer), Code::CommitRejected) }
        }
        Event::Withheld { sender, .. } => warning(Kind::Withheld, About::Device(*sender), Code::Withheld),
        Event::StalePeer { device, .. } => warning(Kind::StalePeer, About::Device(*device), Code::StalePeer),
        Event::Unusual { outcome, sender } => {
            let about = sender.map_or(About::Nobody, About::Device);
            match outcome {
                Outcome::Equivocation => warning(Kind::Equivocation, about, Code::Equivocation),
                Outcome::SplitView => warning(Kind::SplitView, about, Code::SplitView),
                Outcome::OtherBranch => warning(Kind::Forked, About::Nobody, Code::Forked),
                Outcome::Forged => warning(Kind::Forged, about, Code::BadSignature),
                Outcome::BadCommit => warning(Kind::BadCommit, about, Code::CommitRefused),
                Outcome::FalseClaim => warning(Kind::FalseClaim, about, Code::Protocol),
                Outcome::HistoryLost => Told { kind: Kind::HistoryLost, about, by: None, code: None },
                // Waits, is mended, or was passed over without harm.
                _ => return None,
            }
        }
        _ => return None,
    })
}

//! Why it is or is not syncing, in words.

use std::collections::BTreeMap;
use std::fmt::Write;

use sync_core::{Outcome, Setting};
use sync_types::{Code, DeviceId, limits};

use crate::store::Kept;
use crate::{Finding, Mode, RelayPath, RelayState, Status, SyncTrouble, WakeState};

const DAY_MS: u64 = 24 * 3600 * 1000;
const LAPSED_DAYS: u64 = limits::MAX_LAG.as_secs() / (24 * 3600);
/// For how long a change of what the group agreed on is told.
const CHANGES_DAYS: u64 = 30;
const STALE_DAYS: u64 = limits::STALE_PEER.as_secs() / (24 * 3600);

fn found(code: Code, title: &str, detail: impl Into<String>) -> Finding {
    Finding { code: Some(code), title: title.into(), detail: detail.into(), next_step: code.next_step().into() }
}

fn fine(title: &str, detail: impl Into<String>) -> Finding {
    Finding { code: None, title: title.into(), detail: detail.into(), next_step: String::new() }
}

/// The findings, what stands in the way first.
pub(crate) fn findings(
    status: &Status,
    refused: &[Kept],
    names: &BTreeMap<DeviceId, String>,
    now: u64,
) -> Vec<Finding> {
    let mut list = Vec::new();
    if status.joining {
        let title = "waiting to be added to a group";
        let next_step =
            "Bring the device that was paired with online, and leave this one connected. Leave gives it up.";
        let trouble = status.trouble.as_ref();
        let code = trouble.map_or(Code::NotMember, |trouble| trouble.code);
        let detail = trouble.map_or("it is looking for its relay", |trouble| &trouble.message);
        list.push(Finding { next_step: next_step.into(), ..found(code, title, detail) });
        return list;
    }
    if status.group.is_none() {
        list.push(found(Code::NotInGroup, "in no group", "this device has pushed nothing and is paired with no other"));
        return list;
    }
    if status.mode == Mode::Background {
        list.push(found(
            Code::Asleep,
            "in the background",
            "no socket is open, and what is pushed waits on this device",
        ));
    } else if let Some(trouble) = &status.trouble {
        list.push(stopped(trouble));
    } else if status.connected {
        let up = status.relay_states.iter().filter(|relay| relay.connected);
        let over = |relay: &RelayState| match (&relay.host, relay.path) {
            (Some(host), _) => format!("the mailbox of {}", called(Some(host.id), host.name.as_ref())),
            (None, Some(RelayPath::Https)) => {
                format!("{}, over HTTPS since UDP does not get through", relay.address)
            }
            (None, _) => relay.address.to_string(),
        };
        let relays: Vec<_> = up.map(over).collect();
        list.push(fine("connected", format!("the relay is {}", relays.join(", "))));
    }
    list.extend(relays(status));
    if let Some(WakeState::Refused(code)) = status.wake {
        list.push(found(code, "not woken", "the relay does not wake this device when something comes for it"));
    }
    if status.devices.len() < 2 {
        let detail = "there is no other device in the group, so nobody receives what is pushed";
        list.push(Finding { next_step: "Invite a device.".into(), ..fine("alone", detail) });
    }
    if status.outbox > 0 {
        list.push(fine("waiting to be sent", format!("{} on this device alone", changes(status.outbox))));
    }
    if status.unacknowledged > status.outbox {
        let count = status.unacknowledged - status.outbox;
        let detail = format!("{} at the relay, and not every other device has fetched all", changes(count));
        list.push(Finding {
            next_step: "Bring the other devices online.".into(),
            ..fine("waiting for others", detail)
        });
    }
    if let Some(days) = status.away_days {
        let away = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
        let detail = format!("this device was away for {away} and fetches what it missed from the others");
        list.push(found(Code::Lapsed, "coming back", detail));
    } else if status.wants_history {
        let detail = "what was there before this device joined is still to come from another device";
        list.push(Finding { next_step: "Bring another device online.".into(), ..fine("history is missing", detail) });
    }
    if status.withheld > 0 {
        let detail =
            format!("{} of other devices are known to exist, and nobody brings them", envelopes(status.withheld));
        list.push(found(Code::Withheld, "something is withheld", detail));
    } else if status.behind > 0 {
        let count = envelopes(status.behind);
        let detail =
            format!("{count} of other devices did not come in turn; the devices that have them are being asked");
        let next_step = "Bring the other devices online.";
        list.push(Finding { next_step: next_step.into(), ..fine("a gap is being repaired", detail) });
    }
    if status.recovery_kit && !status.vouches {
        let detail =
            "this device was not told yet what it needs to vouch for the group towards whoever comes with the kit";
        let next_step = "Bring another device online. If this stays, make a new recovery kit.";
        list.push(Finding { next_step: next_step.into(), ..fine("the recovery kit is incomplete here", detail) });
    }
    if let Some(moving) = status.moving.as_ref().filter(|moving| !moving.waits_for.is_empty()) {
        let name = |device: &crate::DeviceRef| device.name.clone().unwrap_or_else(|| device.id.to_string());
        let detail = format!("it waits for {}", moving.waits_for.iter().map(name).collect::<Vec<_>>().join(", "));
        list.push(Finding {
            next_step: "Bring these devices online once, or remove those that will not come back.".into(),
            ..fine("the group moves to another suite", detail)
        });
    }
    if let Some(code) = status.kit_snapshot_refused {
        let detail = "the relay did not take a snapshot that this device left for the recovery kit: whoever comes with the kit finds an \
                      older one, or none";
        list.push(found(code, "a snapshot is not with the recovery kit", detail));
    }
    for change in status.setting_changes.iter().rev().filter(|c| now.saturating_sub(c.at) < CHANGES_DAYS * DAY_MS) {
        if Some(change.by.id) == status.device {
            continue;
        }
        let name = change.by.name.clone().unwrap_or_else(|| change.by.id.to_string());
        let (what, next_step) = match change.setting {
            Setting::RecoveryKit => (
                "the group's recovery kit: earlier words are worth nothing any more",
                "If nobody whom you trust did that, remove that device and make a new recovery kit.",
            ),
            Setting::Relays => ("the group's relays", "If nobody whom you trust did that, remove that device."),
            Setting::History => ("what newcomers get to see", "If nobody whom you trust did that, remove that device."),
            Setting::Suite => ("the group's suite", "If nobody whom you trust did that, remove that device."),
        };
        let days = now.saturating_sub(change.at) / DAY_MS;
        let detail = format!("{name} changed {what} ({})", days_ago(days));
        list.push(Finding { next_step: next_step.into(), ..fine("what the group agreed on was changed", detail) });
    }
    for device in &status.devices {
        let name = called(Some(device.id), device.name.as_ref());
        if let Some(days) = device.last_seen.map(|at| now.saturating_sub(at) / DAY_MS).filter(|d| *d >= STALE_DAYS) {
            let lapsed = if days >= LAPSED_DAYS { "; what is pushed counts as delivered without it" } else { "" };
            let detail = format!("nothing has come from {name} for {days} days{lapsed}");
            list.push(found(Code::StalePeer, "a device is silent", detail));
        }
    }
    list.extend(refused.iter().map(|kept| evidence(kept, names, now)));
    list
}

/// Why nothing is sent, or not now.
fn stopped(trouble: &SyncTrouble) -> Finding {
    let (title, more) = match trouble.code {
        Code::RolledBack => ("this device was set back", ", as after restoring a backup"),
        Code::OutOfStep => ("this device is out of step", ": its keys do not fit those of the others any more"),
        Code::Forked => ("the group has split", ", and what one half sends the other cannot read"),
        Code::Cloned => ("this device runs twice", ", and nothing comes or goes here any more"),
        Code::Removed => ("this device was removed", ""),
        _ => ("not syncing", ""),
    };
    found(trouble.code, title, format!("{}{more}", trouble.message))
}

/// What was not accepted, from whom, and what is kept of it.
fn evidence(kept: &Kept, names: &BTreeMap<DeviceId, String>, now: u64) -> Finding {
    let sender = called(kept.sender, kept.sender.and_then(|id| names.get(&id)));
    let count = envelopes(kept.count);
    let step = |finding: Finding, next_step: &str| Finding { next_step: next_step.into(), ..finding };
    let mut finding = match kept.outcome.as_str() {
        "equivocation" => {
            let detail = format!("{sender}, or a copy of it, signed {count} that exclude others which it signed too");
            found(Code::Equivocation, "a device contradicts itself", detail)
        }
        "split_view" => {
            let detail = format!("another device holds something else of {sender} than this one does, as {count} told");
            found(Code::SplitView, "devices were shown different things", detail)
        }
        "other_branch" => {
            let detail = format!("{count} of {sender} are of another branch of the group, which nobody here can read");
            found(Code::Forked, "the group has split", detail)
        }
        "forged" => {
            let detail =
                format!("{sender} is named by {count} without its signature, or against the rules of its chain");
            found(Code::BadSignature, "something was forged", detail)
        }
        "bad_commit" => {
            let detail = format!("{count} with a change of the group could not be applied");
            found(Code::CommitRefused, "a change of the group does not fit", detail)
        }
        "id_conflict" => {
            let detail = format!("{sender} sent {count} with another blob under an id that was there already");
            found(Code::IdConflict, "two blobs have one id", detail)
        }
        "false_claim" => {
            let detail = format!("{sender} claimed in {count} that another device had sent what it never did");
            step(found(Code::Protocol, "a device claims what is not so", detail), "If it goes on, remove that device.")
        }
        "past_cut" => {
            let detail = format!("{sender} had sent more by another relay than the one that ordered its removal");
            found(Code::PastCut, "a removed device had sent more", detail)
        }
        "removed_sender" => {
            let detail = format!("{count} of {sender} came after it was removed, and were not taken");
            let next = "It stays out. An honest relay hands out nothing of it: if it goes on, use another relay.";
            step(found(Code::Protocol, "a removed device goes on", detail), next)
        }
        outcome if outcome == Outcome::HistoryLost.as_str() => {
            let detail = format!("some of what {sender} pushed went with the last device of the group that held it");
            step(
                fine("history is lost", detail),
                "Push it again from a device that was removed or reset, if one still has it.",
            )
        }
        other => {
            let detail = format!("{count} of {sender}: {}", other.replace('_', " "));
            found(Code::Protocol, "something was not accepted", detail)
        }
    };
    if kept.kept > 0 && finding.code.is_some() {
        let what = if kept.kept == 1 { "it is".to_owned() } else { format!("the newest {} are", kept.kept) };
        let when = if kept.first_at == kept.last_at {
            ago(kept.last_at, now)
        } else {
            format!("first {}, last {}", ago(kept.first_at, now), ago(kept.last_at, now))
        };
        let _ = write!(finding.detail, "; {what} kept as evidence, up to no. {} ({when})", kept.newest);
    }
    finding
}

/// A device as people know it.
fn called(id: Option<DeviceId>, name: Option<&String>) -> String {
    match (name, id) {
        (Some(name), _) => format!("«{name}»"),
        (None, Some(id)) => format!("device {}", &id.to_string()[..8]),
        (None, None) => "an unknown sender".into(),
    }
}

fn ago(at: u64, now: u64) -> String {
    match now.saturating_sub(at) / DAY_MS {
        0 => "today".into(),
        1 => "yesterday".into(),
        days => format!("{days} days ago"),
    }
}

fn days_ago(days: u64) -> String {
    match days {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}

/// Relays that are away while another one is there.
fn relays(status: &Status) -> Vec<Finding> {
    let away = |(place, relay): (usize, &RelayState)| {
        let why = relay.trouble.as_ref().map_or("it has not answered yet", |trouble| &trouble.message);
        if let Some(host) = &relay.host {
            let name = called(Some(host.id), host.name.as_ref());
            let waits =
                if place == 0 { "changes of the group wait for it" } else { "it gets what it lacks when it is up" };
            let next_step = format!("Bring {name} online, or remove it if it will not come back.");
            let finding =
                fine("a device is not up", format!("the mailbox of {name} cannot be reached: {waits} ({why})"));
            return Finding { next_step, ..finding };
        }
        let what = if place == 0 { "the first relay is away" } else { "a relay is away" };
        let detail = match place {
            0 => format!("{}: {why}; pushes go through another one, changes of the group wait", relay.address),
            _ => format!("{}: {why}; what it should have goes there when it is back", relay.address),
        };
        let mut finding = found(Code::RelayUnreachable, what, detail);
        if place == 0 {
            finding.next_step =
                "If it will never come back, give it up: `ksync relay drop ADDR --dead`, or the app's own way.".into();
        }
        finding
    };
    let states = status.relay_states.iter().enumerate();
    let mut list: Vec<Finding> = Vec::new();
    if !status.waiting_for.is_empty() {
        let names = names(&status.waiting_for);
        let next_step = "Open the app on one of these devices while it is open here.";
        let detail = format!("no other device is up: it is {names} that this one waits for");
        list.push(Finding { next_step: next_step.into(), ..fine("waiting for a device", detail) });
    }
    let is_waited_for = |relay: &RelayState| relay.host.as_ref().is_some_and(|host| status.waiting_for.contains(host));
    let away_now = states.filter(|(_, relay)| status.connected && !relay.connected && !is_waited_for(relay));
    list.extend(away_now.map(away));
    list
}

/// Devices in a sentence.
fn names(devices: &[crate::DeviceRef]) -> String {
    devices.iter().map(|d| called(Some(d.id), d.name.as_ref())).collect::<Vec<_>>().join(" or ")
}

fn envelopes(count: u64) -> String {
    if count == 1 { "1 envelope".to_owned() } else { format!("{count} envelopes") }
}

/// So many blobs, in a person's words.
fn changes(count: u64) -> String {
    if count == 1 { "1 change is".to_owned() } else { format!("{count} changes are") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceInfo, GroupId, VaultKind};

    fn status() -> Status {
        Status {
            group: Some(GroupId([1; 32])),
            device: None,
            name: "here".into(),
            connected: false,
            caught_up: false,
            relays: vec![],
            relay_states: vec![],
            hosting: false,
            waiting_for: vec![],
            outbox: 3,
            unacknowledged: 5,
            devices: vec![],
            epoch: 1,
            suite: None,
            moving: None,
            wants_history: true,
            away_days: None,
            behind: 2,
            withheld: 2,
            recovery_kit: true,
            kit_snapshots: true,
            kit_snapshot_refused: None,
            vouches: false,
            setting_changes: vec![],
            trouble: Some(SyncTrouble { code: Code::RelayUnreachable, message: "no answer".into() }),
            mode: Mode::Foreground,
            wake: None,
            joining: false,
            vault: VaultKind::KeyFile,
        }
    }

    fn kept(outcome: &str, count: u64) -> Kept {
        let sender = Some(DeviceId([7; 16]));
        let (first_at, last_at) = (0, 3 * DAY_MS);
        Kept { outcome: outcome.into(), sender, count, kept: count, newest: 17, first_at, last_at }
    }

    fn with(status: &Status, refused: &[Kept]) -> Vec<Finding> {
        let names = [(DeviceId([7; 16]), "Phone".to_owned())].into();
        findings(status, refused, &names, 3 * DAY_MS)
    }

    #[test]
    fn what_stands_in_the_way_comes_first_and_says_what_to_do() {
        let list = with(&status(), &[kept("history_lost", 1), kept("equivocation", 2)]);
        assert!(list.iter().any(|f| f.title == "history is lost" && f.code.is_none() && !f.next_step.is_empty()));
        assert_eq!(list[0].code, Some(Code::RelayUnreachable));
        assert!(list[0].next_step.contains("network"));
        let all: String = list.iter().map(|f| f.detail.as_str()).collect();
        for words in ["3 changes are on this device", "2 changes are at the relay", "before this device joined"] {
            assert!(all.contains(words), "{words}: {all}");
        }
        let refused = with(&Status { kit_snapshot_refused: Some(Code::Quota), ..status() }, &[]);
        let title = "a snapshot is not with the recovery kit";
        assert!(refused.iter().any(|f| f.code == Some(Code::Quota) && f.title == title));
        let one: String = with(&Status { outbox: 1, ..status() }, &[]).into_iter().map(|f| f.detail).collect();
        assert!(one.contains("1 change is on this device"), "{one}");
        let last = list.last().unwrap();
        assert_eq!(last.code, Some(Code::Equivocation));
        assert_eq!(
            last.detail,
            "«Phone», or a copy of it, signed 2 envelopes that exclude others which it signed too; the newest 2 are kept \
             as evidence, up to no. 17 (first 3 days ago, last today)"
        );
        let (id, name) = (DeviceId([7; 16]), Some("Phone".to_owned()));
        let by = crate::DeviceRef { id, name };
        let changed = |at| vec![crate::SettingChange { setting: Setting::RecoveryKit, by: by.clone(), at }];
        let told = |at, now| {
            let status = Status { setting_changes: changed(at), ..status() };
            let list = findings(&status, &[], &BTreeMap::new(), now);
            list.iter().any(|f| f.detail.contains("Phone changed the group's recovery kit"))
        };
        assert!(told(DAY_MS, 3 * DAY_MS) && !told(DAY_MS, 40 * DAY_MS));
        let own = Status { setting_changes: changed(0), device: Some(id), ..status() };
        assert!(!findings(&own, &[], &BTreeMap::new(), 0).iter().any(|f| f.detail.contains("Phone changed")));
        let away = with(&Status { away_days: Some(40), ..status() }, &[]);
        let back = away.iter().find(|f| f.code == Some(Code::Lapsed)).unwrap();
        assert!(back.detail.contains("40 days") && !back.next_step.is_empty(), "{back:?}");
        assert!(away.iter().all(|f| f.title != "history is missing"), "it is said once");
        assert_eq!(with(&Status { group: None, ..status() }, &[])[0].code, Some(Code::NotInGroup));
    }

    /// Each state that docs/errors.md has a code for is explained under that code, with what to do, in words of its own.
    #[test]
    fn each_fault_of_the_relay_or_a_device_is_explained() {
        let refused: &[(&str, Code)] = &[
            ("equivocation", Code::Equivocation),
            ("split_view", Code::SplitView),
            ("other_branch", Code::Forked),
            ("forged", Code::BadSignature),
            ("bad_commit", Code::CommitRefused),
            ("id_conflict", Code::IdConflict),
            ("false_claim", Code::Protocol),
            ("removed_sender", Code::Protocol),
            ("undecodable", Code::Protocol),
        ];
        let calm =
            Status { outbox: 0, unacknowledged: 0, wants_history: false, withheld: 0, trouble: None, ..status() };
        let calm = Status { recovery_kit: false, ..calm };
        let mut titles = std::collections::BTreeSet::new();
        let mut explained = |finding: Finding, code| {
            assert_eq!(finding.code, Some(code), "{finding:?}");
            assert!(!finding.next_step.is_empty() && !finding.detail.is_empty(), "{finding:?}");
            titles.insert((finding.title, code))
        };
        for (outcome, code) in refused {
            let finding = with(&calm, &[kept(outcome, 1)]).pop().unwrap();
            assert!(finding.detail.contains("it is kept as evidence, up to no. 17"), "{finding:?}");
            assert!(explained(finding, *code), "{outcome} says what another says");
        }
        for code in [Code::RolledBack, Code::OutOfStep, Code::Forked, Code::Cloned, Code::Removed, Code::UnknownSigner]
        {
            let trouble = Some(SyncTrouble { code, message: "m".into() });
            let finding = with(&Status { trouble, ..status() }, &[]).remove(0);
            explained(finding, code);
        }
        let gap = with(&Status { behind: 2, ..calm.clone() }, &[]).pop().unwrap();
        assert!(gap.title.contains("gap") && gap.code.is_none() && gap.detail.contains("2 envelopes"), "{gap:?}");
        explained(with(&Status { behind: 2, withheld: 2, ..calm.clone() }, &[]).pop().unwrap(), Code::Withheld);
        let silent = DeviceInfo { id: DeviceId([9; 16]), name: Some("Tablet".into()), own: false, last_seen: Some(0) };
        let silent = Status { devices: vec![silent.clone(), silent], ..calm };
        let told = findings(&silent, &[], &BTreeMap::new(), 15 * DAY_MS).pop().unwrap();
        assert!(told.detail.contains("«Tablet» for 15 days"), "{told:?}");
        explained(told, Code::StalePeer);
    }
}

//! Why it is or is not syncing, in words.

use sync_core::Outcome;
use sync_types::{Code, limits};

use crate::store::Kept;
use crate::{Finding, Status};

const DAY_MS: u64 = 24 * 3600 * 1000;
const LAPSED_DAYS: u64 = limits::MAX_LAG.as_secs() / (24 * 3600);
const STALE_DAYS: u64 = limits::STALE_PEER.as_secs() / (24 * 3600);

fn found(code: Code, title: &str, detail: impl Into<String>) -> Finding {
    Finding { code: Some(code), title: title.into(), detail: detail.into(), next_step: code.next_step().into() }
}

fn fine(title: &str, detail: impl Into<String>) -> Finding {
    Finding { code: None, title: title.into(), detail: detail.into(), next_step: String::new() }
}

/// The findings, what stands in the way first.
pub(crate) fn findings(status: &Status, refused: &[Kept], now: u64) -> Vec<Finding> {
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
    if let Some(trouble) = &status.trouble {
        list.push(found(trouble.code, "not syncing", trouble.message.clone()));
    } else if status.connected {
        let relays: Vec<_> = status.relays.iter().map(ToString::to_string).collect();
        list.push(fine("connected", format!("the relay is {}", relays.join(", "))));
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
    }
    for device in &status.devices {
        let name = device.name.clone().unwrap_or_else(|| device.id.to_string());
        if let Some(days) = device.last_seen.map(|at| now.saturating_sub(at) / DAY_MS).filter(|d| *d >= STALE_DAYS) {
            let lapsed = if days >= LAPSED_DAYS { "; what is pushed counts as delivered without it" } else { "" };
            let detail = format!("nothing has come from {name} for {days} days{lapsed}");
            list.push(found(Code::StalePeer, "a device is silent", detail));
        }
    }
    for kept in refused {
        let sender = kept.sender.map_or_else(|| "an unknown sender".into(), |id| format!("device {id}"));
        if kept.outcome == Outcome::HistoryLost.as_str() {
            let detail = format!("some of what {sender} pushed went with the last device of the group that held it");
            let next_step = "Push it again from a device that was removed or reset, if one still has it.";
            list.push(Finding { next_step: next_step.into(), ..fine("history is lost", detail) });
            continue;
        }
        let code = match kept.outcome.as_str() {
            "equivocation" => Code::Equivocation,
            "split_view" => Code::SplitView,
            "forged" => Code::BadSignature,
            "bad_commit" => Code::CommitRefused,
            "id_conflict" => Code::IdConflict,
            "other_branch" => Code::Forked,
            _ => Code::Protocol,
        };
        let name = kept.outcome.replace('_', " ");
        list.push(found(code, "something was not accepted", format!("{} entries of {sender}: {name}", kept.count)));
    }
    list
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
    use crate::{GroupId, SyncTrouble};

    fn status() -> Status {
        Status {
            group: Some(GroupId([1; 32])),
            device: None,
            name: "here".into(),
            connected: false,
            caught_up: false,
            relays: vec![],
            hosting: false,
            outbox: 3,
            unacknowledged: 5,
            devices: vec![],
            epoch: 1,
            wants_history: true,
            away_days: None,
            withheld: 2,
            trouble: Some(SyncTrouble { code: Code::RelayUnreachable, message: "no answer".into() }),
            joining: false,
        }
    }

    #[test]
    fn what_stands_in_the_way_comes_first_and_says_what_to_do() {
        let kept = Kept { outcome: "equivocation".into(), sender: None, count: 2 };
        let lost = Kept { outcome: Outcome::HistoryLost.as_str().into(), sender: None, count: 1 };
        let list = findings(&status(), &[lost, kept], 0);
        assert!(list.iter().any(|f| f.title == "history is lost" && !f.next_step.is_empty()));
        assert_eq!(list[0].code, Some(Code::RelayUnreachable));
        assert!(list[0].next_step.contains("network"));
        let all: String = list.iter().map(|f| f.detail.as_str()).collect();
        for words in ["3 changes are on this device", "2 changes are at the relay", "before this device joined"] {
            assert!(all.contains(words), "{words}: {all}");
        }
        let one: String = findings(&Status { outbox: 1, ..status() }, &[], 0).into_iter().map(|f| f.detail).collect();
        assert!(one.contains("1 change is on this device"), "{one}");
        assert_eq!(list.last().unwrap().code, Some(Code::Equivocation));
        let away: Vec<_> = findings(&Status { away_days: Some(40), ..status() }, &[], 0);
        let back = away.iter().find(|f| f.code == Some(Code::Lapsed)).unwrap();
        assert!(back.detail.contains("40 days") && !back.next_step.is_empty(), "{back:?}");
        assert!(away.iter().all(|f| f.title != "history is missing"), "it is said once");
        let none = findings(&Status { group: None, ..status() }, &[], 0);
        assert_eq!(none[0].code, Some(Code::NotInGroup));
    }
}

//! Alerts: what a person should hear of, also when no app ran as it happened.

use std::fmt;

use sync_types::{Code, DeviceId};

/// What an alert tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum AlertKind {
    /// A device came into the group.
    Linked,
    /// This device came into a group.
    Joined,
    /// A device was removed.
    Removed,
    /// A device was removed as one that is lost: it deletes what it holds when it next connects.
    Lost,
    /// This device was removed as one that is lost, and has deleted what it held. Names nobody.
    Wiped,
    /// A device left.
    Left,
    /// A device took a new key: it was restored from an older copy, or could not follow the group.
    Replaced,
    /// A device came back by the recovery kit, and removed all others.
    Recovered,
    /// Somebody changed the group's recovery kit: the words that worked before are worth nothing any more.
    KitChanged,
    /// Somebody changed where the group's relays are.
    RelaysChanged,
    /// Somebody changed whether newcomers get what was pushed before.
    HistoryChanged,
    /// Somebody moved the group to another suite.
    SuiteChanged,
    /// A copy of this device runs elsewhere and has taken its place.
    Cloned,
    /// A change of the group that this device wanted was given up; the code says why.
    ChangeFailed,
    /// A change of the group was undone, because a device could not apply it.
    ChangeUndone,
    /// This device has stopped sending; the code says why.
    Stopped,
    /// What a device pushed is brought by nobody.
    Withheld,
    /// Nothing new has come from a device for two weeks.
    StalePeer,
    /// A device signed two envelopes that exclude each other.
    Equivocation,
    /// Another device holds something else under a number than this one does.
    SplitView,
    /// Devices were shown different histories of the group.
    Forked,
    /// Something came that was not signed by whom it claims to be from.
    Forged,
    /// A change of the group came that this device could not apply.
    BadCommit,
    /// A device claimed that another one had sent what it never did.
    FalseClaim,
    /// A device sent another blob under an id that was there already.
    IdConflict,
    /// Some of what a device pushed is held by no device any more.
    HistoryLost,
}

impl AlertKind {
    /// Every kind.
    pub const ALL: [Self; 26] = [
        Self::Linked,
        Self::Joined,
        Self::Removed,
        Self::Lost,
        Self::Wiped,
        Self::Left,
        Self::Replaced,
        Self::Recovered,
        Self::KitChanged,
        Self::RelaysChanged,
        Self::HistoryChanged,
        Self::SuiteChanged,
        Self::Cloned,
        Self::ChangeFailed,
        Self::ChangeUndone,
        Self::Stopped,
        Self::Withheld,
        Self::StalePeer,
        Self::Equivocation,
        Self::SplitView,
        Self::Forked,
        Self::Forged,
        Self::BadCommit,
        Self::FalseClaim,
        Self::IdConflict,
        Self::HistoryLost,
    ];

    /// The kind's name, as in events and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Linked => "linked",
            Self::Joined => "joined",
            Self::Removed => "removed",
            Self::Lost => "lost",
            Self::Wiped => "wiped",
            Self::Left => "left",
            Self::Replaced => "replaced",
            Self::Recovered => "recovered",
            Self::KitChanged => "kit_changed",
            Self::RelaysChanged => "relays_changed",
            Self::HistoryChanged => "history_changed",
            Self::SuiteChanged => "suite_changed",
            Self::Cloned => "cloned",
            Self::ChangeFailed => "change_failed",
            Self::ChangeUndone => "change_undone",
            Self::Stopped => "stopped",
            Self::Withheld => "withheld",
            Self::StalePeer => "stale_peer",
            Self::Equivocation => "equivocation",
            Self::SplitView => "split_view",
            Self::Forked => "forked",
            Self::Forged => "forged",
            Self::BadCommit => "bad_commit",
            Self::FalseClaim => "false_claim",
            Self::IdConflict => "id_conflict",
            Self::HistoryLost => "history_lost",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether it tells that something is wrong, rather than that something has changed. A warning that comes again is
    /// counted, and told again once a day.
    pub const fn is_warning(self) -> bool {
        !matches!(
            self,
            Self::Linked
                | Self::Joined
                | Self::Removed
                | Self::Lost
                | Self::Wiped
                | Self::Left
                | Self::Replaced
                | Self::Recovered
                | Self::KitChanged
                | Self::RelaysChanged
                | Self::HistoryChanged
                | Self::SuiteChanged
        )
    }
}

/// A device in an alert, as it was called when that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertDevice {
    /// What its id was.
    pub id: DeviceId,
    /// What it was called, once it had said a name.
    pub name: Option<String>,
    /// Whether it was this device.
    pub own: bool,
}

/// Something that a person should hear of. Kept until there are a thousand newer ones, of changes and of warnings each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Rises with each alert of this device.
    pub number: u64,
    /// What it tells.
    pub kind: AlertKind,
    /// When this device heard of it first, by its own clock, in milliseconds since the Unix epoch. It may have happened long
    /// before, while this device was away.
    pub at: u64,
    /// Whether [`crate::SyncClient::alerts_seen`] was called for it, or this device did it itself.
    pub seen: bool,
    /// Whom it is about; `None` where that is unknown.
    pub device: Option<AlertDevice>,
    /// Who did it, where somebody did.
    pub by: Option<AlertDevice>,
    /// What `doctor` and docs/errors.md explain it under, if they do.
    pub code: Option<Code>,
    /// How often it came, for a warning; how many envelopes are missing, for [`AlertKind::Withheld`].
    pub count: u64,
    /// When something last came from the device, in milliseconds since the Unix epoch; for one that is silent or has gone.
    pub since: Option<u64>,
}

impl Alert {
    /// What happened, as a sentence.
    pub fn text(&self) -> String {
        let device = Called(self.device.as_ref(), "a device");
        let by = Called(self.by.as_ref(), "somebody");
        let own = self.device.as_ref().is_some_and(|device| device.own);
        let sentence = match self.kind {
            AlertKind::Linked => format!("{by} linked {device}"),
            AlertKind::Joined => "this device was linked to a group".into(),
            AlertKind::Removed => format!("{by} removed {device}"),
            AlertKind::Lost if own => format!("{by} removed this device as lost: what it holds is deleted"),
            AlertKind::Lost => {
                format!("{by} removed {device} as lost: it deletes what it holds when it next connects")
            }
            AlertKind::Wiped => "this device was removed as lost, and what it held was deleted".into(),
            AlertKind::Left => format!("{device} left"),
            AlertKind::Replaced if own && self.code == Some(Code::OutOfStep) => {
                "this device could not follow a change of its group, and has taken a new key".into()
            }
            AlertKind::Replaced if own => "this device was restored from an older copy, and has taken a new key".into(),
            AlertKind::Replaced => {
                format!("{device} has a new key: it was restored from an older copy, or could not follow the group")
            }
            AlertKind::Recovered => format!("{device} came back by the recovery kit, and removed all other devices"),
            AlertKind::KitChanged => format!("{by} changed the group's recovery kit"),
            AlertKind::RelaysChanged => format!("{by} changed the group's relays"),
            AlertKind::HistoryChanged => format!("{by} changed what newcomers get of the past"),
            AlertKind::SuiteChanged => format!("{by} moved the group to another suite"),
            AlertKind::Cloned => "a copy of this device runs elsewhere and has taken its place".into(),
            AlertKind::ChangeFailed => format!("the change about {device} was given up"),
            AlertKind::ChangeUndone => format!("a change by {device} was undone, since {by} could not apply it"),
            AlertKind::Stopped => "this device has stopped sending".into(),
            AlertKind::Withheld if self.count == 1 => format!("1 envelope of {device} exists, and nobody brings it"),
            AlertKind::Withheld => format!("{} envelopes of {device} exist, and nobody brings them", self.count),
            AlertKind::StalePeer => format!("nothing has come from {device} for two weeks"),
            AlertKind::Equivocation => format!("{device}, or a copy of it, signed two different envelopes as one"),
            AlertKind::SplitView => format!("devices hold different things of {device} under one number"),
            AlertKind::Forked => "devices were shown different histories of the group".into(),
            AlertKind::Forged => match &self.device {
                Some(_) => format!("something came that claims to be from {device}, and is not"),
                None => "something came that nobody of the group has signed".into(),
            },
            AlertKind::BadCommit => "a change of the group came that cannot be applied".into(),
            AlertKind::FalseClaim => format!("{device} claimed that another device had sent what it never did"),
            AlertKind::IdConflict => format!("{device} sent another blob under an id that was there already"),
            AlertKind::HistoryLost => format!("some of what {device} pushed is held by no device any more"),
        };
        let mut letters = sentence.chars();
        let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
        format!("{first}{}.", letters.as_str())
    }

    /// What to do about it, as sentences; empty where this device did it itself.
    pub fn next_step(&self) -> &'static str {
        let own = self.device.as_ref().is_some_and(|device| device.own);
        if self.by.as_ref().is_some_and(|by| by.own) {
            return "";
        }
        match self.kind {
            AlertKind::Linked => "If nobody of yours did that, remove both devices.",
            AlertKind::Removed | AlertKind::Lost if own => Code::Removed.next_step(),
            AlertKind::Wiped => "It can be linked anew. Nothing of the group can be read here.",
            AlertKind::Removed | AlertKind::Lost => {
                "If nobody of yours did that, remove the device that did, and link the other one again."
            }
            AlertKind::Joined | AlertKind::Left => "",
            AlertKind::Recovered if own => "",
            AlertKind::Recovered => {
                "If nobody of yours did that, somebody else has the words of the kit: start a group anew."
            }
            AlertKind::KitChanged | AlertKind::RelaysChanged | AlertKind::HistoryChanged | AlertKind::SuiteChanged => {
                "If nobody of yours did that, remove the device that did."
            }
            AlertKind::Replaced if own => "If you restored nothing, ask who has a copy of this device's data.",
            AlertKind::Replaced => "If you know of no reason, remove it.",
            AlertKind::HistoryLost => "Push it again from a device that was removed or reset, if one still has it.",
            _ => self.code.map_or("", Code::next_step),
        }
    }
}

/// A device in a sentence.
struct Called<'a>(Option<&'a AlertDevice>, &'static str);

impl fmt::Display for Called<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(device) if device.own => f.write_str("this device"),
            Some(AlertDevice { name: Some(name), .. }) => write!(f, "«{name}»"),
            Some(device) => write!(f, "device {}", &device.id.to_string()[..8]),
            None => f.write_str(self.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(byte: u8, name: Option<&str>, own: bool) -> Option<AlertDevice> {
        Some(AlertDevice { id: DeviceId([byte; 16]), name: name.map(str::to_owned), own })
    }

    fn alert(kind: AlertKind) -> Alert {
        let (device, by) = (device(0xab, Some("Pixel 9"), false), device(2, Some("Laptop"), false));
        Alert { number: 1, kind, at: 0, seen: false, device, by, code: None, count: 1, since: None }
    }

    #[test]
    fn each_kind_has_its_name_and_a_sentence() {
        let mut texts = std::collections::BTreeSet::new();
        for kind in AlertKind::ALL {
            assert_eq!(AlertKind::from_name(kind.as_str()), Some(kind));
            let text = alert(kind).text();
            assert!(
                text.ends_with('.') && text.starts_with(|c: char| c.is_uppercase() || c == '«' || c == '1'),
                "{text}"
            );
            assert!(texts.insert(text), "{kind:?} says what another kind says");
        }
        assert_eq!(AlertKind::from_name("nonsense"), None);
    }

    #[test]
    fn who_did_what_to_whom() {
        assert_eq!(alert(AlertKind::Removed).text(), "«Laptop» removed «Pixel 9».");
        let nameless = Alert { device: device(0xab, None, false), ..alert(AlertKind::Linked) };
        assert_eq!(nameless.text(), "«Laptop» linked device abababab.");
        assert!(nameless.next_step().contains("remove both"));
        let done_here = Alert { by: device(2, Some("Laptop"), true), ..alert(AlertKind::Linked) };
        assert_eq!((done_here.text().as_str(), done_here.next_step()), ("This device linked «Pixel 9».", ""));
        let this = Alert { device: device(0xab, None, true), ..alert(AlertKind::Lost) };
        assert_eq!(this.text(), "«Laptop» removed this device as lost: what it holds is deleted.");
        let restored = Alert { device: device(0xab, None, true), by: None, ..alert(AlertKind::Replaced) };
        assert!(restored.text().contains("restored from an older copy"));
        let withheld = Alert { count: 3, code: Some(Code::Withheld), ..alert(AlertKind::Withheld) };
        assert_eq!(withheld.text(), "3 envelopes of «Pixel 9» exist, and nobody brings them.");
        assert_eq!(withheld.next_step(), Code::Withheld.next_step());
    }
}

//! The same as the events, for people.

use std::fmt::Write;

use sync_client::{
    Alert, ClientEvent, Code, DeviceId, DeviceInfo, DeviceRef, Exit, FileInfo, FileState, Finding, Mode, Outcome,
    ReceivedBlob, RelayPath, RelayState, Setting, Status, Suite, VaultKind, WakeState, Woken, limits,
};

use crate::clock::now_ms;
use crate::out::plain;

/// How much of an id people see.
const SHORT: usize = 8;

/// A device as people know it.
pub(crate) fn device(device: &DeviceRef) -> String {
    called(device.id, device.name.as_deref())
}

fn called(id: DeviceId, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("«{}»", plain(name)),
        None => format!("device {}", &id.to_string()[..SHORT]),
    }
}

/// `1 blob`, `2,000 blobs`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped} {what}{}", if number == 1 { "" } else { "s" })
}

/// What a wake-up brought.
pub(crate) fn woken(woken: Woken) -> &'static str {
    match (woken.caught_up, woken.arrived) {
        (true, true) => "Everything that waited has been fetched, something new with it. No socket is open any more.",
        (true, false) => "Nothing new waited. No socket is open any more.",
        (false, _) => "Something new has come, and more waits still. No socket is open any more.",
    }
}

/// How it stands with waking this device.
pub(crate) fn wake_target(wake: Option<WakeState>) -> String {
    match wake {
        None => "This device is woken nowhere: it syncs while it runs.".into(),
        Some(WakeState::Waiting) => "The relay is told as soon as this device is connected.".into(),
        Some(WakeState::Registered) => "The relay wakes this device when something comes for it.".into(),
        Some(WakeState::Refused(code)) => format!("The relay does not wake this device ({code}). {}", code.next_step()),
    }
}

/// Whether everything is synced, and if not, why; then the figures.
pub(crate) fn status(status: &Status) -> String {
    let mut text = headline(status);
    let mut row = |name: &str, value: String| {
        let _ = write!(text, "\n  {name:<8} {value}");
    };
    let id = status.device.map(|id| format!(", {id}")).unwrap_or_default();
    row("device", format!("«{}»{id}", plain(&status.name)));
    row("key", vault(status.vault).to_owned());
    let Some(group) = status.group else { return text };
    row("group", format!("{}…, {}", &group.to_string()[..SHORT], count(status.devices.len() as u64, "device")));
    for state in &status.relay_states {
        let hosted_here = state.host.as_ref().is_some_and(|host| Some(host.id) == status.device);
        if let Some(host) = &state.host {
            let how = match (state.connected, hosted_here) {
                (true, true) => "hosted here".to_owned(),
                (true, false) => "connected".to_owned(),
                (false, _) => format!("not connected: {}", why_away(state)),
            };
            row("mailbox", format!("of {} ({how})", device(host)));
            continue;
        }
        let how = match (state.connected, status.hosting && status.relays.len() == 1) {
            (true, true) => "connected, hosted here".to_owned(),
            (true, false) => connected(state).to_owned(),
            // Why a single one is not, the headline says.
            (false, _) if status.relays.len() == 1 => "not connected".to_owned(),
            (false, _) => format!("not connected: {}", why_away(state)),
        };
        row("relay", format!("{} ({how})", state.address));
    }
    if status.suite.is_some() {
        row("suite", suite(status));
    }
    row("outbox", format!("{} not at the relay yet", count(status.outbox, "blob")));
    let waiting = status.unacknowledged.saturating_sub(status.outbox);
    row("waiting", format!("{} at the relay until every device has fetched it", count(waiting, "blob")));
    text
}

/// Where a key lies.
pub(crate) fn vault(kind: VaultKind) -> &'static str {
    match kind {
        VaultKind::Keychain => "in the system's keychain",
        VaultKind::Passphrase => "under a passphrase",
        VaultKind::KeyFile => "in a file of this home",
    }
}

/// What the group's cryptography is made of, and who is waited for to move it elsewhere.
pub(crate) fn suite(status: &Status) -> String {
    let parts = match status.suite {
        Some(Suite::XWing) => "1: ML-KEM-768 with X25519, XChaCha20-Poly1305",
        Some(Suite::Fips) => "2: ML-KEM-768 with P-256, AES-256-GCM; devices pair by link, not by short code",
        None => "no group",
    };
    let Some(moving) = &status.moving else { return parts.into() };
    let names: Vec<_> = moving.waits_for.iter().map(device).collect();
    let to = moving.to as u8;
    match names.is_empty() {
        true => format!("{parts} (moves to {to})"),
        false => format!("{parts} (moves to {to} as soon as it was online: {})", names.join(", ")),
    }
}

/// That only this device is up, and who else may have something.
pub(crate) fn waiting(away: &[DeviceRef]) -> String {
    let names: Vec<_> = away.iter().map(device).collect();
    format!("Waiting for {}: no other device is up.", names.join(" or "))
}

fn headline(status: &Status) -> String {
    if status.joining {
        let why = status.trouble.as_ref().map_or("it is looking for its relay", |trouble| &trouble.message);
        return format!(
            "Waiting to be added to a group: {why}. This goes on while `ksync run` runs; `ksync leave` gives it up."
        );
    }
    if status.group.is_none() {
        return "In no group yet. Push something, invite a device or join a group.".into();
    }
    if let Some(trouble) = &status.trouble {
        return format!("Not syncing: {}. {}", trouble.message, trouble.code.next_step());
    }
    if status.mode == Mode::Background {
        return "In the background: no socket is open.".into();
    }
    if !status.connected {
        return "Not syncing: the relay has not answered yet.".into();
    }
    if !status.waiting_for.is_empty() {
        return waiting(&status.waiting_for);
    }
    if status.outbox > 0 {
        return format!("Sending: {} to go.", count(status.outbox, "blob"));
    }
    if !status.caught_up {
        return "Fetching what waits at the relay.".into();
    }
    if status.withheld > 0 {
        let what = count(status.withheld, "envelope");
        return format!(
            "{what} of other devices should be here, and nobody brings them. {}",
            Code::Withheld.next_step()
        );
    }
    if let Some(days) = status.away_days {
        return format!("This device was away for {} and fetches what it missed from the others.", count(days, "day"));
    }
    if status.wants_history {
        return "Waiting for blobs from before this device joined: another device has to be online to hand them on."
            .into();
    }
    if status.devices.len() < 2 {
        return "Ready, but alone: `ksync invite` brings another device into the group.".into();
    }
    if status.unacknowledged > 0 {
        let blobs = count(status.unacknowledged, "blob");
        let (wait, them) = if status.unacknowledged == 1 { ("waits", "it") } else { ("wait", "them") };
        return format!("All is sent and fetched; {blobs} {wait} at the relay until the other devices fetch {them}.");
    }
    "Everything is synced.".into()
}

fn connected(relay: &RelayState) -> &'static str {
    match relay.path {
        Some(RelayPath::Https) => "connected over HTTPS, as UDP does not get through",
        _ => "connected",
    }
}

fn why_away(relay: &RelayState) -> &str {
    relay.trouble.as_ref().map_or("it has not answered yet", |trouble| &trouble.message)
}

/// One line of the list of relays.
pub(crate) fn relay(relay: &RelayState) -> String {
    let how = match (relay.connected, relay.leads) {
        (true, true) => format!("{}, in the lead", connected(relay)),
        (true, false) => connected(relay).to_owned(),
        (false, _) => format!("not connected: {}", why_away(relay)),
    };
    let of = relay.host.as_ref().map(|host| format!("  of {}", device(host))).unwrap_or_default();
    format!("{}{of}  ({how})", relay.address.without_token())
}

/// One line of the list of devices.
pub(crate) fn member(device: &DeviceInfo) -> String {
    let more = match device.last_seen {
        _ if device.own => "  (this device)".into(),
        Some(at) if now_ms().saturating_sub(at) >= limits::STALE_PEER.as_millis() as u64 => {
            format!("  (silent: last heard of {}, see doctor)", ago(at, now_ms()))
        }
        Some(at) => format!("  (last heard of {})", ago(at, now_ms())),
        None => String::new(),
    };
    format!("{}  {}{more}", device.id, device.name.as_deref().map_or("(no name yet)".into(), plain))
}

/// How long ago that was, as people say it.
pub(crate) fn ago(at: u64, now: u64) -> String {
    let minutes = now.saturating_sub(at) / 60_000;
    match minutes {
        0 => "just now".into(),
        1..60 => format!("{} ago", count(minutes, "minute")),
        60..1440 => format!("{} ago", count(minutes / 60, "hour")),
        _ => format!("{} ago", count(minutes / 1440, "day")),
    }
}

/// Why a device went, for programs.
pub(crate) const fn exit(exit: Exit) -> &'static str {
    match exit {
        Exit::Removed => "removed",
        Exit::Lost => "lost",
        Exit::Left => "left",
    }
}

/// An alert with its next step, and a mark if nobody has seen it.
pub(crate) fn alert(alert: &Alert) -> String {
    let mark = if alert.seen { '-' } else { '!' };
    let mut text = format!("{mark} {}: {}", ago(alert.at, now_ms()), plain(&alert.text()));
    if alert.kind.is_warning() && alert.count > 1 && !alert.text().contains(&alert.count.to_string()) {
        let _ = write!(text, " ({} times)", alert.count);
    }
    if !alert.next_step().is_empty() {
        let _ = write!(text, "\n  → {}", alert.next_step());
    }
    if let Some(code) = alert.code {
        let _ = write!(text, " [{code}]");
    }
    text
}

/// A finding with its next step.
pub(crate) fn finding(finding: &Finding) -> String {
    let mark = if finding.code.is_some() { "!" } else { "-" };
    let mut text = format!("{mark} {}: {}.", finding.title, finding.detail.trim_end_matches('.'));
    if !finding.next_step.is_empty() {
        let _ = write!(text, "\n  → {}", finding.next_step);
    }
    if let Some(code) = finding.code {
        let _ = write!(text, " [{code}]");
    }
    text
}

/// One line of the list of files.
pub(crate) fn file(file: &FileInfo) -> String {
    let state = match file.state {
        FileState::Here if !file.given => "here, and not at the relay yet".to_owned(),
        FileState::Here => "here".to_owned(),
        FileState::Coming { bytes } => format!("coming, {} %", percent(bytes, file.size)),
        FileState::Wanted => "to be fetched".to_owned(),
        FileState::OnDemand => format!("not here: `ksync file get {}` fetches it", &file.id.to_string()[..SHORT]),
        FileState::Missing => "not here, and nobody has it now".to_owned(),
        FileState::Forged => "not what its sender said".to_owned(),
    };
    format!("{}  {}  ({}, {state})", file.id, plain(&file.name).replace(['\n', '\t'], " "), size(file.size))
}

/// How much of something that is, in hundredths.
pub(crate) fn percent(done: u64, total: u64) -> u64 {
    if done >= total { 100 } else { u64::try_from(u128::from(done) * 100 / u128::from(total)).unwrap_or(100) }
}

/// So many bytes, as people say it.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return count(bytes, "byte");
    }
    let unit = (bytes.ilog2() / 10).min(5);
    // One digit behind the point, cut off.
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit as usize - 1])
}

/// A blob on a line: its text, or how large it is.
pub(crate) fn blob(blob: &ReceivedBlob, with_channel: bool, show: impl Fn(&str) -> String) -> String {
    let text = match std::str::from_utf8(&blob.data) {
        Ok(text) => show(text),
        Err(_) => format!("({}, no text: see --json)", count(blob.data.len() as u64, "byte")),
    };
    if with_channel { format!("{}: {text}", show(&blob.channel)) } else { text }
}

/// What happened to the client; `None` for what is of no use to a person.
pub(crate) fn event(event: &ClientEvent) -> Option<String> {
    Some(match event {
        ClientEvent::Connected => "Connected.".into(),
        ClientEvent::Disconnected { message, retry_after_ms, .. } => {
            format!("Not connected: {message}. The next try is in {} s.", retry_after_ms.div_ceil(1000))
        }
        ClientEvent::Mode(Mode::Foreground) => "This device is in the foreground: it stays connected.".into(),
        ClientEvent::Mode(Mode::Background) => "This device is in the background: no socket is open.".into(),
        ClientEvent::Mode(Mode::Waking) => "This device was woken: it fetches what waits.".into(),
        ClientEvent::CaughtUp => "Everything that waited at the relay has been fetched.".into(),
        ClientEvent::Arrived => "Something new has come.".into(),
        ClientEvent::Delivered => "The other devices have what was pushed here.".into(),
        ClientEvent::DeviceAdded { device: added, by } => format!("{} was added by {}.", device(added), device(by)),
        ClientEvent::DeviceRemoved { device: gone, exit: Exit::Left, .. } => format!("{} has left.", device(gone)),
        ClientEvent::DeviceRemoved { device: gone, by, exit } => {
            let lost = if *exit == Exit::Lost { " as lost" } else { "" };
            format!("{} was removed{lost} by {}.", device(gone), device(by))
        }
        ClientEvent::RelaysChanged { relays, .. } => {
            let relays: Vec<_> = relays.iter().map(|relay| relay.without_token().to_string()).collect();
            format!("The group uses these relays now: {}.", relays.join(", "))
        }
        ClientEvent::DeviceReplaced { device: new, .. } => format!(
            "{} took a new key: it was restored from a copy, or could not follow the group. If you know of no reason, remove it.",
            device(new)
        ),
        ClientEvent::DeviceRecovered { device: back } => format!(
            "{} came back by the recovery kit, and removes all other devices. If nobody whom you know did that, somebody \
             else has the words.",
            device(back)
        ),
        ClientEvent::SettingsChanged { setting, by } => match setting {
            Setting::RecoveryKit => {
                format!("{} changed the recovery kit: earlier words are worth nothing any more.", device(by))
            }
            Setting::Relays => format!("{} changed the group's relays.", device(by)),
            Setting::History => format!("{} changed what newcomers get to see.", device(by)),
            Setting::Suite => format!("{} moved the group to another suite.", device(by)),
        },
        ClientEvent::LeftForKit { channel, refused: None } => {
            format!("The relay keeps the snapshot of «{channel}» for the recovery kit.")
        }
        ClientEvent::LeftForKit { channel, refused: Some(code) } => {
            format!("The relay does not keep the snapshot of «{channel}» for the recovery kit: {code}.")
        }
        ClientEvent::KeyReplaced { .. } => {
            "This device has taken a new key, and fetches from the others what it lacks.".into()
        }
        ClientEvent::Joined { .. } => "Joined the group.".into(),
        ClientEvent::Left { .. } => "This device has left its group.".into(),
        ClientEvent::HistoryProgress { done, total } => {
            format!("Fetching what was before: {} %.", done.saturating_mul(100) / (*total).max(1))
        }
        ClientEvent::Lapsed { since } => {
            let last = ago(*since, now_ms());
            format!("This device was last connected {last}. What it missed comes from the other devices.")
        }
        ClientEvent::Synced => "All that was there before, or was missed, has come.".into(),
        ClientEvent::Unusual { outcome, device: from } => {
            let from = from.as_ref().map_or("an unknown sender".into(), device);
            if *outcome == Outcome::PastCut {
                return Some(format!(
                    "{from} had sent more before it was removed, by another relay. {}",
                    Code::PastCut.next_step()
                ));
            }
            if *outcome == Outcome::HistoryLost {
                return Some(format!("Some of what {from} pushed is lost: no device of the group has it; see doctor."));
            }
            format!("Something from {from} was not accepted ({}); see doctor.", outcome.as_str().replace('_', " "))
        }
        ClientEvent::Withheld { device: from, count } => {
            let what = self::count(*count, "envelope");
            format!(
                "{what} from {} should be here, and nobody brings them. {}",
                device(from),
                Code::Withheld.next_step()
            )
        }
        ClientEvent::StalePeer { device: about, since } => {
            format!("Nothing has come from {} for long: the last was {}.", device(about), ago(*since, now_ms()))
        }
        ClientEvent::CommitRejected { by, committer } => {
            format!("A change by {} was undone, since {} could not apply it.", device(committer), device(by))
        }
        ClientEvent::ChangeFailed { device: about, code } => {
            format!("The change about {} was given up. {} [{code}]", device(about), code.next_step())
        }
        ClientEvent::Refused { code, .. } => format!("The relay refused something. {} [{code}]", code.next_step()),
        ClientEvent::Halted { code } => format!("Sending has stopped. {} [{code}]", code.next_step()),
        ClientEvent::IdConflict { device: from, .. } => {
            format!("{} sent another blob under a known id; see doctor.", device(from))
        }
        ClientEvent::StoreFailed { code } => format!("The database cannot be written. {} [{code}]", code.next_step()),
        ClientEvent::FileListed { id, own: false } => format!("There is a new file, {id}: see `ksync file list`."),
        ClientEvent::FileHere { id } => format!("The file {id} is here."),
        ClientEvent::FileGiven { id } => format!("The relay has the file {id}."),
        ClientEvent::FileRemoved { id } => format!("The file {id} was removed."),
        ClientEvent::FileFailed { id, code, .. } => {
            format!("The file or large blob {id} is not carried now. {} [{code}]", code.next_step())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_client::{AlertDevice, AlertKind, BlobId, GroupId, SyncTrouble};

    fn info(byte: u8, name: &str, own: bool) -> DeviceInfo {
        DeviceInfo { id: DeviceId([byte; 16]), name: Some(name.into()), own, last_seen: None }
    }

    fn fine() -> Status {
        Status {
            group: Some(GroupId([0xab; 32])),
            device: Some(DeviceId([1; 16])),
            name: "laptop".into(),
            connected: true,
            caught_up: true,
            relays: vec!["https://sync.example.org".parse().unwrap()],
            relay_states: vec![],
            hosting: false,
            waiting_for: vec![],
            outbox: 0,
            unacknowledged: 0,
            devices: vec![info(1, "laptop", true), info(2, "phone", false)],
            epoch: 2,
            suite: None,
            moving: None,
            wants_history: false,
            away_days: None,
            behind: 0,
            withheld: 0,
            recovery_kit: false,
            kit_snapshots: false,
            kit_snapshot_refused: None,
            vouches: false,
            setting_changes: vec![],
            trouble: None,
            mode: Mode::Foreground,
            wake: None,
            joining: false,
            vault: VaultKind::KeyFile,
        }
    }

    #[test]
    fn the_headline_says_what_stands_in_the_way_first() {
        let trouble = SyncTrouble { code: Code::RelayUnreachable, message: "no answer".into() };
        let joining = Status { group: None, joining: true, trouble: Some(trouble.clone()), ..fine() };
        let cases = [
            (fine(), "Everything is synced."),
            (Status { unacknowledged: 2, ..fine() }, "2 blobs wait at the relay until"),
            (Status { devices: vec![info(1, "laptop", true)], ..fine() }, "alone"),
            (Status { wants_history: true, ..fine() }, "before this device joined"),
            (Status { away_days: Some(40), ..fine() }, "was away for 40 days"),
            (Status { withheld: 2, ..fine() }, "2 envelopes of other devices should be here"),
            (Status { caught_up: false, ..fine() }, "Fetching"),
            (Status { outbox: 1, ..fine() }, "Sending: 1 blob to go."),
            (Status { connected: false, outbox: 1, ..fine() }, "has not answered yet"),
            (Status { connected: false, trouble: Some(trouble), ..fine() }, "no answer. Check the network"),
            (Status { group: None, ..fine() }, "In no group yet"),
            (joining, "Waiting to be added to a group: no answer"),
        ];
        for (case, wanted) in cases {
            let text = status(&case);
            let first = text.lines().next().unwrap();
            assert!(first.contains(wanted), "{first}");
        }
    }

    #[test]
    fn names_of_others_cannot_drive_the_terminal() {
        let name = Some("a\x1b[2J".to_owned());
        let text = member(&DeviceInfo { name, ..info(1, "", false) });
        assert!(!text.contains('\x1b'), "{text:?}");
    }

    #[test]
    fn a_device_that_is_silent_for_long_is_marked() {
        let heard = |days: u64| {
            let last_seen = Some(now_ms() - days * 24 * 3600 * 1000);
            member(&DeviceInfo { last_seen, ..info(2, "phone", false) })
        };
        assert!(heard(3).ends_with("(last heard of 3 days ago)"), "{}", heard(3));
        assert!(heard(15).ends_with("(silent: last heard of 15 days ago, see doctor)"), "{}", heard(15));
    }

    #[test]
    fn an_alert_says_when_what_and_what_to_do() {
        let by = |name: &str| AlertDevice { id: DeviceId([1; 16]), name: Some(name.into()), own: false };
        let (kind, device) = (AlertKind::Linked, Some(by("a\x1b[2J")));
        let base = Alert {
            number: 1,
            kind,
            at: now_ms() - 120_000,
            seen: false,
            device,
            by: Some(by("laptop")),
            code: None,
            count: 1,
            since: None,
        };
        let text = alert(&base);
        assert!(text.starts_with("! 2 minutes ago: «laptop» linked «a\\u{1b}[2J».\n  → If nobody"), "{text}");
        let forged = Alert { kind: AlertKind::Forged, count: 7, code: Some(Code::BadSignature), seen: true, ..base };
        let text = alert(&forged);
        assert!(text.starts_with("- ") && text.contains("(7 times)") && text.ends_with("[BAD_SIGNATURE]"), "{text}");
    }

    #[test]
    fn sizes_and_shares_are_short() {
        for (bytes, wanted) in [(0, "0 bytes"), (1, "1 byte"), (1023, "1,023 bytes"), (1024, "1.0 KiB")] {
            assert_eq!(size(bytes), wanted);
        }
        assert_eq!(
            (size(3 << 20), size((1 << 30) - 1), size(u64::MAX)),
            ("3.0 MiB".into(), "1023.9 MiB".into(), "16383.9 PiB".into())
        );
        assert_eq!((percent(0, 0), percent(1, 3), percent(u64::MAX - 1, u64::MAX), percent(9, 3)), (100, 33, 99, 100));
    }

    #[test]
    fn how_long_ago_a_device_was_heard_of() {
        let minute = 60_000;
        for (passed, wanted) in [(0, "just now"), (1, "1 minute ago"), (150, "2 hours ago"), (3000, "2 days ago")] {
            assert_eq!(ago(0, passed * minute), wanted);
        }
        assert_eq!(ago(9, 0), "just now", "the clock was set back");
    }

    #[test]
    fn bytes_that_are_no_text_are_named_and_not_printed() {
        let (id, device) = (BlobId([0; 16]), DeviceId([0; 16]));
        let bytes = ReceivedBlob {
            id,
            device,
            channel: "c".into(),
            position: 1,
            own: false,
            data: vec![0xff; 1200],
            snapshot: false,
        };
        assert_eq!(blob(&bytes, true, str::to_owned), "c: (1,200 bytes, no text: see --json)");
        assert_eq!(blob(&ReceivedBlob { data: b"hi".to_vec(), ..bytes }, false, str::to_owned), "hi");
    }
}

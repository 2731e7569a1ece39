//! Error codes: one list for the wire, the command line, the guest API and the documentation.

/// Who has to do something about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller passed something that cannot be done.
    Caller,
    /// The person can put it right: another link, another code, more room.
    Person,
    /// The relay, or the way to it, is at fault or busy; the same call may succeed later.
    Relay,
    /// Another device or the relay broke the protocol.
    Peer,
    /// This device's own disk or data is at fault.
    Device,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $fault:ident, $next:literal;)*) => {
        /// What went wrong, for machines. `Display` gives the SCREAMING_SNAKE name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Code { $($(#[$doc])* $name = $number,)* }

        impl Code {
            /// Every code, in the order of its numbers.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// The code's name, as in `{"code": …}`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// Who has to do something about it.
            pub const fn fault(self) -> Fault {
                match self { $(Code::$name => Fault::$fault,)* }
            }

            /// What to do next, as a sentence for a person.
            pub const fn next_step(self) -> &'static str {
                match self { $(Code::$name => $next,)* }
            }

            /// The code behind a number on the wire; an unknown one reads as [`Code::Protocol`].
            pub const fn from_wire(number: u16) -> Self {
                match number { $($number => Code::$name,)* _ => Code::Protocol }
            }

            /// The code of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Code::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// Bytes that are not what the protocol allows at this point.
    Protocol = 1, "PROTOCOL", Peer, "The other side broke the protocol. Update both sides; if it stays, report it with the relay's log.";
    /// The other side speaks another protocol version.
    Version = 2, "VERSION", Person, "Update the app on both devices, or the relay, to the same major version.";
    /// The group or the link uses a cipher suite that this build does not have.
    Suite = 3, "SUITE", Person, "Use a build with the group's cipher suite. If both have it, let the device that is in the group show the link.";
    /// A failure inside the software.
    Internal = 4, "INTERNAL", Device, "Try again. If it stays, report it: this is a bug.";

    /// The relay knows no such group.
    UnknownGroup = 10, "UNKNOWN_GROUP", Relay, "The relay has lost the group, or is another one. Devices give it the group again by themselves; if this stays, check its address.";
    /// A group with this id exists already.
    GroupExists = 11, "GROUP_EXISTS", Peer, "Make another group: this id is taken.";
    /// The device is not a member of the group, or its proof does not hold.
    NotMember = 12, "NOT_MEMBER", Person, "Pair this device with one that is in the group.";
    /// The device was a member and has been removed.
    Removed = 13, "REMOVED", Person, "This device was removed from its group. If that was not meant, pair it again: what it has not sent comes along. Reset forgets what it holds.";
    /// A signature does not verify.
    BadSignature = 14, "BAD_SIGNATURE", Peer, "The sender or the relay is faulty or hostile; nothing was changed.";
    /// Making a group here wants an access token.
    AccessDenied = 15, "ACCESS_DENIED", Person, "Ask the relay's host for an access token and put it behind '#' in the relay's address. A relay that a device hosts takes that device's group alone.";
    /// As many groups as an access token is for were made with it.
    TokenSpent = 16, "TOKEN_SPENT", Person, "Ask the relay's host for another access token, or to let this one make more groups.";

    /// More than a limit allows in one piece.
    TooLarge = 20, "TOO_LARGE", Caller, "Push less than the limit in one blob, or give it as a file.";
    /// An empty blob.
    Empty = 21, "EMPTY", Caller, "Push at least one byte.";
    /// No room: the quota of the group or of its access token is used up, or the relay's disk.
    Quota = 22, "QUOTA", Person, "Bring the other devices online so that they fetch what waits, or ask the relay's host for a larger quota.";
    /// Too much in too short a time.
    RateLimited = 23, "RATE_LIMITED", Relay, "Wait for the stated time, then try again.";
    /// The relay has as many connections as it takes.
    TooManyConnections = 24, "TOO_MANY_CONNECTIONS", Relay, "Wait for the stated time, then try again.";
    /// The relay is stopping.
    Draining = 25, "DRAINING", Relay, "The relay restarts. The device comes back by itself.";

    /// An envelope does not continue its sender's chain.
    BrokenChain = 30, "BROKEN_CHAIN", Peer, "The sender's records differ from the relay's; see doctor.";
    /// Two envelopes with one number from one sender.
    Equivocation = 31, "EQUIVOCATION", Peer, "A device, or a copy of it, signed two different envelopes. Both are kept; remove that device.";
    /// A commit for an epoch that is over.
    StaleEpoch = 32, "STALE_EPOCH", Relay, "Another device changed the group at the same time. It is tried again by itself.";
    /// A removal whose cut is not the removed sender's head.
    StaleCut = 33, "STALE_CUT", Relay, "The removed device sent something meanwhile. It is tried again by itself.";
    /// The last commit is not confirmed yet.
    Provisional = 34, "PROVISIONAL", Relay, "The last change of the group is being confirmed. It is tried again by itself.";
    /// A commit that the group's rules forbid.
    CommitRefused = 35, "COMMIT_REFUSED", Peer, "The change breaks the group's rules; nothing was changed.";
    /// A commit was rejected by a member that could not apply it.
    CommitRejected = 36, "COMMIT_REJECTED", Peer, "A device could not apply the last change of the group, and it was undone. See devices for who made it.";
    /// The group has two histories.
    Forked = 37, "FORKED", Person, "The relay showed devices different histories, so sending stopped. Reset one side and pair it again.";
    /// The relay has more of this device's own envelopes than the device remembers.
    RolledBack = 38, "ROLLED_BACK", Device, "This device's data is older than what it had sent: it was restored from a copy. It takes a new key and fetches what it lacks by itself; keep it and another device online.";
    /// Other members hold envelopes that neither the relay nor any of them has brought here.
    Withheld = 39, "WITHHELD", Relay, "The relay keeps something from this device. Bring the device that pushed it online; if it stays, use another relay.";
    /// Nothing has come from a member for long.
    StalePeer = 40, "STALE_PEER", Person, "Bring that device online. If it is online and syncing, the relay keeps its changes back: use another relay.";
    /// A member holds something else under a number than this device.
    SplitView = 41, "SPLIT_VIEW", Peer, "Devices were shown different things. Compare what they hold; a device that signed both has to be removed.";

    /// Another copy of this device has taken a new key, so this one is in the group no more.
    Cloned = 42, "CLONED", Person, "A copy of this device's data runs elsewhere and has taken its place. Reset this device and pair it again; if you know of no copy, remove the other one.";
    /// This device could not follow a change of its group that the others have made.
    OutOfStep = 43, "OUT_OF_STEP", Device, "This device could not follow a change of its group. It takes a new key and fetches what it lacks by itself; keep it and another device online.";
    /// The group's newest state is signed by nobody whom this device knows, so that a relay may have made it up.
    UnknownSigner = 44, "UNKNOWN_SIGNER", Device, "Devices came to the group that this one never met, and one of them changed it last. Keep a device online that this one knows: it renews its keys within eight days, and this one comes back by itself; or reset this one and pair it again.";

    /// This device was away for so long that the relay kept nothing for it but changes of the group.
    Lapsed = 45, "LAPSED", Device, "This device was away for long. It fetches what it missed from the others by itself: keep it and another device online.";

    /// A short code was asked for in a group of FIPS-approved algorithms, or in a build that has no others.
    CodeNotApproved = 46, "CODE_NOT_APPROVED", Caller, "Use the link or the QR: short codes stand on SPAKE2, which FIPS does not approve.";

    /// A link that is no pairing link, is damaged or is cut short.
    LinkInvalid = 50, "LINK_INVALID", Person, "Copy the whole link, from KSYNC: to its end, or scan the QR again.";
    /// The link's time is over.
    PairingExpired = 51, "PAIRING_EXPIRED", Person, "Make a new invite: a link or a code works for ten minutes.";
    /// The link has been used.
    PairingUsed = 52, "PAIRING_USED", Person, "Make a new invite: each works once.";
    /// The other person said no.
    PairingRefused = 53, "PAIRING_REFUSED", Person, "The other device refused. Make a new invite if that was not meant.";
    /// The check code, or the short code, did not match.
    WrongCode = 54, "WRONG_CODE", Person, "Type the four digits that the other device shows. A code of words takes one try: make a new invite.";
    /// The link belongs to another app.
    WrongApp = 55, "WRONG_APP", Person, "Open the link in the app that it was made for.";
    /// The tries are used up.
    TooManyTries = 56, "TOO_MANY_TRIES", Person, "Make a new invite. If the relay says this, wait for the stated time first, or use a link.";
    /// Nobody shows this pairing at the relay.
    NoSuchPairing = 57, "NO_SUCH_PAIRING", Person, "Keep the invite open on the other device, and make a new one if it was closed.";
    /// The other side does not hold what the link says, so someone may be in between.
    PairingForged = 58, "PAIRING_FORGED", Person, "Somebody else answered this link. Make a new invite, and show it to nobody but the device.";
    /// Both sides of the pairing are the same: two showers or two members.
    WrongSide = 59, "WRONG_SIDE", Person, "A member's invite is for join; what a newcomer shows is for invite.";
    /// What was typed is no short code; nobody has been told of it.
    CodeInvalid = 60, "CODE_INVALID", Person, "Compare it with what the other device shows, a number and three words, and type it again.";
    /// A short code was asked for where no relay can match it.
    CodeNeedsRelay = 61, "CODE_NEEDS_RELAY", Caller, "Use the link or the QR, or give both devices the address of one relay.";
    /// What was typed is no recovery kit; nobody has been told of it.
    KitInvalid = 62, "KIT_INVALID", Person, "Compare it with what was written down, 24 words in their order, and type it again.";
    /// The relay knows no group with this recovery kit.
    KitUnknown = 63, "KIT_UNKNOWN", Person, "Check the relay's address beside the words. If it is right, no group there has this kit, or none of its devices has connected since the kit was made.";
    /// The group has another recovery kit by now, or none.
    KitReplaced = 64, "KIT_REPLACED", Person, "These words were replaced by newer ones: use those. The old ones are worth nothing any more.";
    /// No member of the group vouches for what the relay shows.
    KitForged = 65, "KIT_FORGED", Peer, "No device with this kit vouches for what the relay shows. Nothing was changed. If any device of the group still runs, connect it once, or make a new kit there; else the relay is faulty or hostile.";
    /// A recovery kit needs a relay that outlives the devices.
    KitNeedsRelay = 66, "KIT_NEEDS_RELAY", Caller, "Give the group a relay of its own: one that a device hosts is lost with that device.";

    /// The relay does not answer.
    RelayUnreachable = 70, "RELAY_UNREACHABLE", Relay, "Check the network and the relay's address. What was pushed is kept and goes later.";
    /// A relay address that cannot be read.
    AddressInvalid = 71, "ADDRESS_INVALID", Caller, "A relay address is 'embedded', ksync://ENDPOINT@host:port or https://host.";
    /// A call that waits for something took too long.
    Timeout = 72, "TIMEOUT", Relay, "It may still happen later; see status.";
    /// A removed device had sent more, by another relay than the one that ordered its removal.
    PastCut = 75, "PAST_CUT", Peer, "It is kept, and handed on to the other devices. Look at it if the removed device was not to be trusted.";
    /// The first relay is to be given up as dead, and answers.
    RelayAnswers = 76, "RELAY_ANSWERS", Caller, "It is not dead: set another list of relays, which goes through it.";
    /// The relay wakes no devices through this push service, or not for this app.
    WakeUnavailable = 77, "WAKE_UNAVAILABLE", Person, "Ask the relay's host to set up wake-ups for this app's push service, or give the device another target. Without it, the device syncs whenever it is opened.";
    /// Nobody who could be asked has this content now.
    ContentMissing = 78, "CONTENT_MISSING", Relay, "Bring a device online that has the file: it is fetched from there by itself.";
    /// The relay keeps no large content.
    ContentUnavailable = 79, "CONTENT_UNAVAILABLE", Person, "Ask the relay's host to give it a folder for large content, or use another relay. Blobs go on as they did.";

    /// There is no group here yet.
    NotInGroup = 80, "NOT_IN_GROUP", Caller, "Push something, invite a device or join a group first.";
    /// The device shares a group with others already.
    AlreadyInGroup = 81, "ALREADY_IN_GROUP", Person, "Leave the present group first, or reset.";
    /// The home holds a device already.
    AlreadyInitialized = 82, "ALREADY_INITIALIZED", Caller, "This home has a device. Use another home, or reset it.";
    /// The home holds no device yet.
    NotInitialized = 83, "NOT_INITIALIZED", Caller, "Run init or join first.";
    /// No such member.
    UnknownDevice = 84, "UNKNOWN_DEVICE", Caller, "Take an id from the list of devices.";
    /// An argument that cannot be used.
    InvalidArgument = 85, "INVALID_ARGUMENT", Caller, "See the message for what is allowed.";

    /// Another process uses this home.
    HomeBusy = 90, "HOME_BUSY", Caller, "Stop the other process on this home, or use another home.";
    /// The local database is damaged.
    StoreCorrupt = 91, "STORE_CORRUPT", Device, "The database in this home is damaged. Keep a copy, then reset and pair again; other devices still have the data.";
    /// The disk is full.
    DiskFull = 92, "DISK_FULL", Person, "Free some space. Nothing was lost, and what did not fit was not accepted.";
    /// The disk or a file cannot be read or written.
    Io = 93, "IO", Device, "Check the folder's permissions and the disk.";
    /// A port is in use.
    PortInUse = 94, "PORT_IN_USE", Person, "Another program listens on that port. Stop it or choose another port.";
    /// The client is closed.
    Closed = 95, "CLOSED", Caller, "The client was closed. Make a new one.";
    /// Two different blobs carry one id.
    IdConflict = 96, "ID_CONFLICT", Peer, "Two different blobs carry one id; the first was kept and the other is on record.";
    /// A call wants a connection while the device is in the background.
    Asleep = 97, "ASLEEP", Caller, "Bring the device to the foreground, or wake it, first.";
    /// A file changed while it was read.
    FileChanged = 98, "FILE_CHANGED", Caller, "Put it again once nothing writes to it; nothing was sent.";
    /// What came is not what its sender said.
    ContentForged = 99, "CONTENT_FORGED", Peer, "The device that sent the file is faulty or hostile; nothing of it was kept. Have it put the file again.";

    /// The keys in this home, or a backup, are locked by a passphrase, and none was given.
    PassphraseNeeded = 100, "PASSPHRASE_NEEDED", Person, "Give the passphrase. If it is lost, reset deletes this device, and it can be paired again.";
    /// The passphrase is not the one that the keys or the backup were locked with.
    WrongPassphrase = 101, "WRONG_PASSPHRASE", Person, "Type the passphrase again; nothing was changed. If it is lost, reset deletes this device, and it can be paired again.";
    /// The file that holds this home's keys is damaged, gone, or another home's.
    VaultDamaged = 102, "VAULT_DAMAGED", Device, "Put the file 'vault' of this home back from a copy. Without one, reset deletes this device, and it can be paired again.";
    /// A passphrase's derivation has parameters that no build writes.
    VaultParameters = 103, "VAULT_PARAMETERS", Device, "Somebody has changed the file, or made it too weak. Put it back from a copy; without one, reset deletes this device, and it can be paired again.";
    /// No keychain answers on this system.
    KeychainMissing = 104, "KEYCHAIN_MISSING", Person, "Start the system's keychain and try again. Without it, use a passphrase or a key file for a new device; reset deletes the one that is here.";
    /// The keychain is locked, or somebody said no.
    KeychainLocked = 105, "KEYCHAIN_LOCKED", Person, "Unlock the system's keychain and try again. If that cannot be done, reset deletes this device, and it can be paired again.";
    /// The keychain has no entry for this home.
    KeychainEntryGone = 106, "KEYCHAIN_ENTRY_GONE", Device, "The keychain has lost this device's key, or is another person's or machine's. Bring it back, or reset this device and pair it again; other devices still have the data.";
    /// A newer build has written the file that holds this home's keys.
    VaultNewer = 107, "VAULT_NEWER", Person, "Update the app. With this build, reset deletes this device, and it can be paired again.";
    /// A backup that is damaged, or a file that is none.
    BackupDamaged = 108, "BACKUP_DAMAGED", Person, "Use another copy of the backup; nothing was changed.";
    /// A backup that ends before its end.
    BackupTruncated = 109, "BACKUP_TRUNCATED", Person, "Copy the whole file again, or use another copy of the backup; nothing was changed.";
    /// A backup that a newer build has written.
    BackupNewer = 110, "BACKUP_NEWER", Person, "Update the app, then import the backup; nothing was changed.";
    /// Somebody ended what was being done.
    BackupCancelled = 111, "BACKUP_CANCELLED", Person, "Nothing was changed. Begin again when it suits.";
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_read_back() {
        for (i, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::from_wire(*code as u16), *code);
            assert_eq!(Code::from_name(code.as_str()), Some(*code));
            assert!(!code.next_step().is_empty());
            for other in &Code::ALL[i + 1..] {
                assert_ne!(code.as_str(), other.as_str());
            }
        }
        assert_eq!(Code::from_wire(9999), Code::Protocol);
    }

    /// `docs/errors.md` as the codes make it.
    fn table() -> String {
        let mut text = String::from(
            "# Error codes\n\n\
             <!-- Written by `cargo xtask gen` from crates/sync-types/src/error.rs. -->\n\n\
             One list for the wire, the command line's `{\"event\":\"error\",\"code\":…}` and the guest API. *Fault* says who has to do\n\
             something about it: the **caller** passed what cannot be done; the **person** can put it right; the **relay**, or the way\n\
             to it, is at fault or busy, and the same call may succeed later; a **peer**, which is another device or the relay, broke\n\
             the protocol; this **device**'s own disk or data is at fault.\n\n\
             | number | code | fault | what to do |\n|---:|---|---|---|\n",
        );
        for code in Code::ALL {
            let fault = match code.fault() {
                Fault::Caller => "caller",
                Fault::Person => "person",
                Fault::Relay => "relay",
                Fault::Peer => "peer",
                Fault::Device => "device",
            };
            // A bar would end the table's cell.
            let next = code.next_step().replace('|', "\\|");
            text += &format!("| {} | `{code}` | {fault} | {next} |\n", *code as u16);
        }
        text + PAGE
    }

    /// What never leaves a page of an app, and so has no number.
    const PAGE: &str = "\n\
        Four more are made by the guest API, `tauri-plugin-0ksync-api`, and are known only there:\n\n\
        | code | fault | what to do |\n|---|---|---|\n\
        | `NOT_PERMITTED` | caller | Add the permission that the message names to the capability of this window. |\n\
        | `NOT_INSTALLED` | caller | Install the plugin in the app, in the version of the package, and open the page in the app. |\n\
        | `CANCELLED` | caller | This page gave it up itself. Start again if that was not meant. |\n\
        | `INVALID_UPDATE` | caller | Push nothing else to a channel that a Yjs document uses. |\n";

    #[test]
    fn golden_errors_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        if std::env::var_os("KSYNC_BLESS").is_some() {
            std::fs::write(path, table()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == table(), "docs/errors.md is stale: run `cargo xtask gen`");
    }
}

//! What relays tell each other by NOTIFY: a few bytes of text, since that is all that PostgreSQL carries.

use data_encoding::BASE64;
use sync_types::{DeviceId, GroupId, Opaque};

use crate::store::{News, Node};

/// How many bytes one payload takes before they are written as text: PostgreSQL carries at most 7,999 characters.
const BYTES: usize = 5_900;

/// One payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// These groups have this revision now.
    Revision(i64, Vec<GroupId>),
    /// Somebody tells this.
    News(News),
    /// This node has letters.
    Letters(Node),
    /// A node stops.
    Bye,
}

/// The texts that say so, in as few payloads as hold it. `node` is who says it.
pub(super) fn of_revision(node: i64, revision: i64, groups: &[GroupId]) -> Vec<String> {
    let bytes = |chunk: &[GroupId]| {
        let mut bytes = revision.to_be_bytes().to_vec();
        chunk.iter().for_each(|group| bytes.extend(group.0));
        bytes
    };
    groups.chunks((BYTES - 8) / GroupId::LEN).map(|chunk| text(node, 'r', &bytes(chunk))).collect()
}

/// The text that says so; `None` for what is too long for a payload.
pub(super) fn of_news(node: i64, news: &News) -> Option<String> {
    let (kind, group, device, rest) = match news {
        News::Attached { group, device, number } => ('a', group, device, number.to_be_bytes().to_vec()),
        News::Renew(group, device) => ('n', group, device, Vec::new()),
        News::Presence { group, from, envelope } => ('p', group, from, envelope.to_vec()),
        News::Detached(group, device) => ('d', group, device, Vec::new()),
    };
    let bytes = [&group.0[..], &device.0[..], &rest].concat();
    (bytes.len() <= BYTES).then(|| text(node, kind, &bytes))
}

/// The text that says that somebody has letters.
pub(super) fn of_letters(node: Node, to: Node) -> String {
    text(node, 'l', &to.to_be_bytes())
}

/// The text that says that this node stops.
pub(super) fn of_bye(node: Node) -> String {
    text(node, 'b', &[])
}

/// Reads a payload; `None` for one's own, and for what a later version says.
pub(super) fn read(node: i64, text: &str) -> Option<Payload> {
    let (from, rest) = text.split_at_checked(NODE)?;
    if from == name(node) {
        return None;
    }
    let mut rest = rest.chars();
    let kind = rest.next()?;
    let bytes = BASE64.decode(rest.as_str().as_bytes()).ok()?;
    if kind == 'r' {
        let (revision, groups) = bytes.split_first_chunk()?;
        let (groups, []) = groups.as_chunks::<{ GroupId::LEN }>() else { return None };
        return Some(Payload::Revision(i64::from_be_bytes(*revision), groups.iter().map(|id| GroupId(*id)).collect()));
    }
    match (kind, &bytes[..]) {
        ('l', to) => return Some(Payload::Letters(Node::from_be_bytes(to.try_into().ok()?))),
        ('b', []) => return Some(Payload::Bye),
        _ => {}
    }
    let (group, rest) = bytes.split_at_checked(GroupId::LEN)?;
    let (device, rest) = rest.split_at_checked(DeviceId::LEN)?;
    let (group, device) = (GroupId::from_slice(group)?, DeviceId::from_slice(device)?);
    Some(Payload::News(match kind {
        'a' => News::Attached { group, device, number: u64::from_be_bytes(rest.try_into().ok()?) },
        'd' => News::Detached(group, device),
        'n' => News::Renew(group, device),
        'p' => News::Presence { group, from: device, envelope: Opaque(rest.to_vec()) },
        _ => return None,
    }))
}

/// A node's number in hexadecimal digits.
const NODE: usize = 16;

fn name(node: i64) -> String {
    format!("{node:016x}")
}

fn text(node: i64, kind: char, bytes: &[u8]) -> String {
    format!("{}{kind}{}", name(node), BASE64.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId([7; 32]);
    const DEVICE: DeviceId = DeviceId([9; 16]);

    #[test]
    fn what_is_said_is_heard_by_all_but_who_says_it() {
        for node in [5, i64::MIN, -1] {
            let presence = News::Presence { group: GROUP, from: DEVICE, envelope: Opaque(vec![1, 2, 3]) };
            let attached = News::Attached { group: GROUP, device: DEVICE, number: u64::MAX };
            for news in [attached, News::Detached(GROUP, DEVICE), News::Renew(GROUP, DEVICE), presence] {
                let text = of_news(node, &news).unwrap();
                assert_eq!(read(6, &text), Some(Payload::News(news)));
                assert_eq!(read(node, &text), None);
            }
            assert_eq!(read(6, &of_letters(node, i64::MIN)), Some(Payload::Letters(i64::MIN)));
            assert_eq!(read(6, &of_bye(node)), Some(Payload::Bye));
        }
    }

    #[test]
    fn however_many_groups_there_are_each_payload_is_short_enough() {
        let groups: Vec<_> = (0..500_u16).map(|n| GroupId([n as u8; 32])).collect();
        for revision in [0, -1, i64::MIN] {
            let texts = of_revision(5, revision, &groups);
            assert!(texts.len() < 4 && texts.iter().all(|text| text.len() < 8_000));
            let mut read_back = Vec::new();
            for text in &texts {
                let Some(Payload::Revision(of, some)) = read(6, text) else { panic!("{text}") };
                assert_eq!(of, revision);
                read_back.extend(some);
            }
            assert_eq!(read_back, groups);
        }
        let longest = News::Presence { group: GROUP, from: DEVICE, envelope: Opaque(vec![0; BYTES - 48]) };
        assert!(of_news(5, &longest).unwrap().len() < 8_000);
        let longer = News::Presence { group: GROUP, from: DEVICE, envelope: Opaque(vec![0; BYTES - 47]) };
        assert_eq!(of_news(5, &longer), None);
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        for text in ["", "00000000000000", "0000000000000006", "0000000000000006rAAAA", "0000000000000006aAAAA", "é"] {
            assert_eq!(read(5, text), None, "{text}");
        }
        let later = text(6, 'z', &[0; 48]);
        assert_eq!(read(5, &later), None);
    }
}

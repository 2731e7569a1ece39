use super::*;

fn link() -> Link {
    Link {
        suite: Suite::XWing,
        app: *b"appidtag",
        shows: Side::Member,
        expires_at: 1_800_000_000,
        secret: LinkSecret::new([0x5e; 32]),
        fingerprint: [0xf1; 32],
        relay: RelayHint {
            endpoint: [0xee; 32],
            hosts: vec!["192.0.2.7:4433".parse().unwrap()],
            kind: RelayKind::Pinned,
        },
    }
}

fn with_relay(kind: RelayKind, hosts: &[&str]) -> Link {
    let hosts = hosts.iter().map(|h| h.parse().unwrap()).collect();
    Link { relay: RelayHint { endpoint: [1; 32], hosts, kind }, ..link() }
}

fn assert_reads_back(link: &Link) -> String {
    let text = link.to_text().unwrap();
    let read: Link = text.parse().unwrap();
    assert_eq!(read.to_bytes().unwrap(), link.to_bytes().unwrap());
    assert_eq!(read.relay, link.relay);
    assert_eq!((read.suite, read.app, read.shows), (link.suite, link.app, link.shows));
    assert_eq!((read.expires_at, read.fingerprint), (link.expires_at, link.fingerprint));
    assert_eq!(read.secret.as_bytes(), link.secret.as_bytes());
    text.to_string()
}

#[test]
fn links_read_back_and_fit_the_alphanumeric_mode_of_a_qr() {
    let text = assert_reads_back(&link());
    // 221 characters are what QR version 8 holds at level M in alphanumeric mode (ISO/IEC 18004, table 7).
    assert!(text.len() <= 221, "{} characters", text.len());
    assert!(text.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b':'), "{text}");
    assert_reads_back(&with_relay(RelayKind::Pinned, &["relay.example.org:443", "[2001:db8::1]:9", "127.0.0.1:1"]));
    assert_reads_back(&with_relay(RelayKind::Web("https://sync.example.org".into()), &[]));
    assert_reads_back(&with_relay(RelayKind::Embedded, &["10.0.0.2:5000"]));
    assert_reads_back(&with_relay(RelayKind::Embedded, &[]));
    assert_reads_back(&Link { shows: Side::Newcomer, ..link() });
}

#[test]
fn case_and_white_space_do_not_matter() {
    let text = link().to_text().unwrap();
    let typed = format!("\n  {}\r\n", text.to_lowercase());
    assert_eq!(typed.parse::<Link>().unwrap().to_bytes().unwrap(), link().to_bytes().unwrap());
}

#[test]
fn a_link_cut_short_is_invalid_at_every_length() {
    let text = link().to_text().unwrap();
    for end in 0..text.len() {
        assert_eq!(text[..end].parse::<Link>().unwrap_err().code(), Code::LinkInvalid, "{end} characters");
    }
    let doubled = format!("{}{}", *text, &text[SCHEME.len()..]);
    assert_eq!(doubled.parse::<Link>().unwrap_err(), LinkError::Damaged);
}

#[test]
fn one_changed_character_is_found_wherever_it_stands() {
    let text = link().to_text().unwrap();
    for at in 0..text.len() {
        for other in b"A7K:" {
            let mut changed = text.as_bytes().to_vec();
            if changed[at] == *other {
                continue;
            }
            changed[at] = *other;
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(changed.parse::<Link>().unwrap_err().code(), Code::LinkInvalid, "at {at}");
        }
    }
}

/// Bytes with a right checksum, as a hostile or newer build may make them.
fn sealed(edit: impl FnOnce(&mut Vec<u8>)) -> Result<Link, LinkError> {
    let mut bytes = link().to_bytes().unwrap().to_vec();
    bytes.truncate(bytes.len() - CHECKSUM_BYTES);
    edit(&mut bytes);
    let checksum = CRC.checksum(&bytes).to_be_bytes();
    bytes.extend_from_slice(&checksum);
    Link::from_bytes(&bytes)
}

#[test]
fn another_version_or_suite_has_its_own_error() {
    assert_eq!(sealed(|b| b[0] = 2).unwrap_err(), LinkError::Version(2));
    assert_eq!(sealed(|b| b[1] = 9).unwrap_err(), LinkError::Suite(9));
    assert_eq!(LinkError::Version(2).code(), Code::Version);
    assert_eq!(LinkError::Suite(9).code(), Code::Suite);
    // The version is read first: what a newer version puts behind it is not judged.
    assert_eq!(sealed(|b| b.splice(.., [7, 99]).for_each(drop)).unwrap_err(), LinkError::Version(7));
}

#[test]
fn fields_beyond_their_bounds_are_malformed() {
    assert!(sealed(|_| ()).is_ok());
    assert!(matches!(sealed(|b| b[10] = 3), Err(LinkError::Malformed(_))), "a third side");
    assert!(matches!(sealed(|b| b[79] = 9), Err(LinkError::Malformed(_))), "an unknown kind of relay");
    assert!(matches!(sealed(|b| b.push(0)), Err(LinkError::Malformed(_))), "trailing bytes");
    let port = |b: &mut Vec<u8>| {
        let end = b.len();
        b[end - 2..].fill(0);
    };
    assert!(matches!(sealed(port), Err(LinkError::Malformed(_))), "port 0");
    let textual = |b: &mut Vec<u8>| {
        b.truncate(80 + 32);
        b.extend_from_slice(&[10, 1, 8]);
        b.extend_from_slice(b"1.2.3.4:5".get(..8).unwrap());
    };
    assert!(matches!(sealed(textual), Err(LinkError::Malformed(_))), "a name without a port");
    let ip_as_text = |b: &mut Vec<u8>| {
        b.truncate(80 + 32);
        b.extend_from_slice(&[11, 1, 9]);
        b.extend_from_slice(b"1.2.3.4:5");
    };
    assert!(matches!(sealed(ip_as_text), Err(LinkError::Malformed(_))), "a second form of an address");
}

#[test]
fn a_hint_beyond_its_bounds_makes_no_link() {
    for hint in [
        with_relay(RelayKind::Pinned, &[]),
        with_relay(RelayKind::Embedded, &["a:1"; LINK_HOSTS + 1]),
        with_relay(RelayKind::Web("https://a.example#token".into()), &[]),
        with_relay(RelayKind::Web("ftp://a.example".into()), &[]),
    ] {
        assert!(matches!(hint.to_text(), Err(LinkError::Malformed(_))), "{:?}", hint.relay);
    }
    for host in
        ["", "a", ":1", "a:0", "a:01", "a b:1", "a/b:1", "A:1", "a:70000", "1.2.3.4:0", "[::1]", &"a".repeat(300)]
    {
        assert!(host.parse::<Host>().is_err(), "{host}");
    }
    assert_eq!("[2001:DB8:0:0::1]:9".parse::<Host>().unwrap().as_str(), "[2001:db8::1]:9");
    assert_eq!("[fe80::1%3]:9".parse::<Host>().unwrap().as_str(), "[fe80::1]:9");
}

#[test]
fn what_is_no_link_says_so() {
    for text in ["", "KSYNC", "https://example.org", "ksync//abc", "K\u{df}YNC:AAAA"] {
        assert_eq!(text.parse::<Link>().unwrap_err(), LinkError::NotALink, "{text}");
    }
    assert_eq!(format!("KSYNC:{}", "A".repeat(4000)).parse::<Link>().unwrap_err(), LinkError::Damaged);
    assert_eq!("KSYNC:!!!!".parse::<Link>().unwrap_err(), LinkError::Damaged);
}

#[test]
fn the_hint_names_the_relay_for_the_settings() {
    assert_eq!(link().relay.address().to_string(), format!("ksync://{}@192.0.2.7:4433", "ee".repeat(32)));
    assert_eq!(
        with_relay(RelayKind::Web("https://a.example".into()), &[]).relay.address().to_string(),
        "https://a.example"
    );
    let hosted = with_relay(RelayKind::Embedded, &["192.0.2.7:9"]).relay;
    let RelayAddress::Hosted { endpoint, hosts, device: None } = hosted.address() else { panic!("{hosted:?}") };
    assert_eq!((endpoint, hosts), (hosted.endpoint, vec!["192.0.2.7:9".to_owned()]));
}

#[test]
fn debug_does_not_show_the_secret() {
    let shown = format!("{:?}", link());
    assert!(shown.contains("LinkSecret(…)") && !shown.contains("94"), "{shown}");
}

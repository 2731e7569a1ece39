//! Where endpoints may not lead.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use super::super::network::is_public;
use super::servers::{LOOPBACK, NAME, World};
use super::*;

const PUBLIC: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8));

fn to(endpoint: impl Into<String>) -> Target {
    Target::WebPush { endpoint: endpoint.into(), keys: None }
}

#[test]
fn only_public_addresses_are_public() {
    let refused = "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 \
        169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 \
        192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 \
        240.0.0.1 255.255.255.255 :: ::1 ::2 ::10.0.0.1 ::127.0.0.1 ::ffff:0.0.0.0 ::ffff:127.0.0.1 ::ffff:10.0.0.1 \
        ::ffff:169.254.169.254 ::ffff:0:8.8.8.8 fc00::1 fd00:ec2::254 fdff:ffff::1 fe80::1 febf::1 fec0::1 \
        feff::1 ff02::1 ff0e::1 2001:db8::1 3fff::1 3fff:fff::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 \
        2001:2::1 2001:10::1 2001:20::1 2002:7f00:1::1 2002:a00:1:: 2002:c0a8:101::1 2002:a9fe:a9fe:: \
        64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::1 64:ff9b:1:a00:0:100:: \
        64:ff9b:1::8.8.8.8 100::1 5f00::1 4000::1 1::1";
    for text in refused.split_whitespace() {
        assert!(!is_public(text.parse().unwrap()), "{text}");
    }
    let taken = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 \
        169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.1 192.0.3.0 192.167.255.255 \
        192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 203.0.114.0 223.255.255.255 2001:4860:4860::8888 \
        2606:4700::1111 2a00::1 3ffe::1 2003::1 ::ffff:8.8.8.8 ::8.8.8.8 2002:808:808::1 64:ff9b::8.8.8.8";
    for text in taken.split_whitespace() {
        assert!(is_public(text.parse().unwrap()), "{text}");
    }
}

#[test]
fn networks_are_what_they_say() {
    let network = |text: &str| text.parse::<Network>();
    for (text, inside, outside) in [
        ("10.0.0.0/8", "10.1.2.3", "11.0.0.0"),
        ("127.0.0.1/32", "::ffff:127.0.0.1", "127.0.0.2"),
        ("192.168.7.1", "192.168.7.1", "192.168.7.2"),
        ("fd00::/8", "fdff::1", "fe00::1"),
        ("0.0.0.0/0", "8.8.8.8", "::1"),
        ("::/0", "::1", "8.8.8.8"),
    ] {
        let network = network(text).unwrap();
        assert!(network.contains(inside.parse().unwrap()), "{text}");
        assert!(!network.contains(outside.parse().unwrap()), "{text}");
    }
    for text in ["", "host", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.1/8", "fd00::1/8", "::ffff:10.0.0.0/104"]
    {
        assert!(network(text).is_err(), "{text}");
    }
}

/// Every one of these is refused before a name is looked up or a connection is made.
#[tokio::test]
async fn what_names_a_private_address_or_is_no_endpoint_is_refused() {
    let world = World::new();
    let sender = world.sender("", "");
    let address = Sent::Refused(Refusal::Address);
    for endpoint in [
        "https://127.0.0.1/",
        "https://127.0.0.1:8443/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://017700000001/",
        "https://0177.0.0.1/",
        "https://127.0.0.1./",
        "https://%31%32%37.0.0.1/",
        "https://0/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[0:0:0:0:0:ffff:a9fe:a9fe]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[fd00::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
        "https:\\\\127.0.0.1\\",
        "https:127.0.0.1",
        "http://push.example.org/",
        "http://8.8.8.8/",
    ] {
        assert_eq!(sender.send(&to(endpoint)).await, address, "{endpoint}");
    }
    let long = format!("https://{NAME}/{}", "a".repeat(1024 - 25));
    assert_eq!(sender.check(&to(&long[..1024])), Ok(()));
    for endpoint in [
        "",
        "push.example.org",
        "/push",
        "ftp://push.example.org/",
        "file:///etc/passwd",
        "unix:/run/x",
        "https://",
        "https://user@push.example.org/",
        "https://user:password@push.example.org/",
        "https://:password@push.example.org/",
        "https://push.example.org/\u{e9}",
        "https://push.example.org/a b",
        "https://push.example.org/\n",
        "https://push.example.org:99999/",
        "https://[::1/",
        "https://256.0.0.1/",
        &format!("{long}aa"),
    ] {
        assert_eq!(sender.send(&to(endpoint)).await, Sent::Refused(Refusal::Malformed), "{endpoint}");
    }
    assert_eq!(world.names.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_name_that_leads_anywhere_private_is_refused() {
    let mut world = World::new();
    world.limit = std::time::Duration::from_millis(500);
    let server = world.serve(&["h2"], |_| 201.into()).await;
    let sender = world.sender("", "");
    let endpoint = server.endpoint("/");
    let metadata = "169.254.169.254".parse().unwrap();
    let mapped = "::ffff:127.0.0.1".parse().unwrap();
    for answer in [&[LOOPBACK][..], &[metadata], &[mapped], &[PUBLIC, LOOPBACK], &[LOOPBACK, PUBLIC]] {
        world.names.set(NAME, &[answer]);
        assert_eq!(sender.send(&to(&*endpoint)).await, Sent::Refused(Refusal::Address), "{answer:?}");
    }
    assert_eq!(server.connections(), 0);
}

/// A name that answers with an allowed address when it is judged and with a private one afterwards.
#[tokio::test]
async fn a_rebinding_name_gains_nothing() {
    let world = World::new();
    let allowed = world.serve(&["http/1.1"], |_| 201.into()).await;
    let sender = world.sender("\"127.0.0.1/32\"", "");
    let private: IpAddr = "127.0.0.2".parse().unwrap();
    let trap = tokio::net::TcpListener::bind((private, allowed.port)).await.unwrap();
    world.names.set(NAME, &[&[LOOPBACK], &[private]]);
    assert_eq!(sender.send(&to(allowed.endpoint("/"))).await, Sent::Accepted);
    assert_eq!(world.names.asked.load(Ordering::Relaxed), 1, "what is judged is what is connected to");
    // A new connection means a new look-up, and that is judged again.
    let again = world.sender("\"127.0.0.1/32\"", "");
    assert_eq!(again.send(&to(allowed.endpoint("/"))).await, Sent::Refused(Refusal::Address));
    let knock = tokio::time::timeout(std::time::Duration::from_millis(50), trap.accept());
    assert!(knock.await.is_err(), "the private address was connected to");
}

#[tokio::test]
async fn plain_http_goes_to_allowed_networks_alone() {
    let mut world = World::new();
    world.limit = std::time::Duration::from_millis(500);
    let server = world.serve(&[], |_| 201.into()).await;
    let sender = world.sender("\"127.0.0.1/32\"", "");
    let by_name = format!("http://{NAME}:{}/", server.port);
    assert_eq!(sender.send(&to(&*by_name)).await, Sent::Accepted);
    assert_eq!(sender.send(&to(format!("http://127.0.0.1:{}/", server.port))).await, Sent::Accepted);
    assert_eq!(sender.send(&to("http://8.8.8.8/")).await, Sent::Refused(Refusal::Address));
    // A look-up of its own, as the connection from before has been kept.
    let sender = world.sender("\"127.0.0.1/32\"", "");
    for answer in [&[PUBLIC][..], &[LOOPBACK, PUBLIC]] {
        world.names.set(NAME, &[answer]);
        assert_eq!(sender.send(&to(&*by_name)).await, Sent::Refused(Refusal::Address), "{answer:?}");
    }
}

#[tokio::test]
async fn the_system_finds_loopback_and_it_is_refused() {
    let found = SystemLookup::default().lookup("localhost").await.unwrap();
    assert!(!found.is_empty() && !found.into_iter().any(is_public));
}

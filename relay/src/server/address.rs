//! What to tell devices about where the relay listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use data_encoding::HEXLOWER;

/// What devices pin: the relay's key and where it is. Without a socket for QUIC it is where HTTP is, and without either the key alone.
pub(super) fn pinned(public: &[u8; 32], hosts: &[String], http: Option<&str>) -> String {
    match http {
        Some(url) if hosts.is_empty() => url.to_owned(),
        _ => format!("ksync://{}@{}", HEXLOWER.encode(public), hosts.join(",")),
    }
}

/// What to tell devices about a socket: "everywhere" is no address, so without a public one it is the address by which
/// this machine would send to the world, and if it has none, loopback.
pub(super) fn reachable(socket: SocketAddr, public_host: Option<&str>) -> String {
    let (ip, port) = (socket.ip(), socket.port());
    match public_host {
        Some(host) => format!("{host}:{port}"),
        None if !ip.is_unspecified() => socket.to_string(),
        None => {
            let loopback: IpAddr = if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            SocketAddr::new(outward_address(ip).unwrap_or(loopback), port).to_string()
        }
    }
}

/// The address by which this machine would send to the rest of the network, of the same family as `family`; `None` without a
/// route. Others in the network reach the machine there, unless something between translates addresses.
pub fn outward_address(family: IpAddr) -> Option<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849).
    let (any, target): (IpAddr, IpAddr) = if family.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into())
    } else {
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
    };
    // Connecting a UDP socket asks the routing table and sends nothing.
    let routed = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((target, 9))?;
        socket.local_addr()
    });
    routed.ok().map(|own| own.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_an_address_that_they_can_connect_to() {
        for everywhere in ["0.0.0.0:7", "[::]:7"] {
            let everywhere: SocketAddr = everywhere.parse().unwrap();
            let told: SocketAddr = reachable(everywhere, None).parse().unwrap();
            assert!(
                !told.ip().is_unspecified() && told.is_ipv4() == everywhere.is_ipv4() && told.port() == 7,
                "{told}"
            );
            assert_eq!(reachable(everywhere, Some("relay.example")), "relay.example:7");
        }
        assert_eq!(reachable(([127, 0, 0, 1], 9).into(), None), "127.0.0.1:9");
    }
}

//! Names of hosts, for iroh, as the system resolves them for everything else here: iroh's own way falls back to public servers, and
//! with a relay set no packet goes anywhere else.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use futures_util::future::BoxFuture;
use iroh::dns::{BoxIter, DnsError, Resolver, TxtRecordData};

/// Asks the system.
#[derive(Debug)]
pub(super) struct SystemNames;

async fn look_up<T: Send + 'static>(host: String, family: fn(SocketAddr) -> Option<T>) -> Result<BoxIter<T>, DnsError> {
    let found =
        tokio::net::lookup_host((host, 0)).await.map_err(|e| DnsError::from(n0_error::AnyError::from_std(e)))?;
    let found: Vec<T> = found.filter_map(family).collect();
    Ok(Box::new(found.into_iter()))
}

impl Resolver for SystemNames {
    fn lookup_ipv4(&self, host: String) -> BoxFuture<'static, Result<BoxIter<Ipv4Addr>, DnsError>> {
        Box::pin(look_up(host, |address| match address {
            SocketAddr::V4(v4) => Some(*v4.ip()),
            SocketAddr::V6(_) => None,
        }))
    }

    fn lookup_ipv6(&self, host: String) -> BoxFuture<'static, Result<BoxIter<Ipv6Addr>, DnsError>> {
        Box::pin(look_up(host, |address| match address {
            SocketAddr::V4(_) => None,
            SocketAddr::V6(v6) => Some(*v6.ip()),
        }))
    }

    /// Nothing here asks for such records.
    fn lookup_txt(&self, _host: String) -> BoxFuture<'static, Result<BoxIter<TxtRecordData>, DnsError>> {
        Box::pin(async { Ok(Box::new(std::iter::empty()) as BoxIter<TxtRecordData>) })
    }

    fn clear_cache(&self) {}

    fn reset(&self) -> Box<dyn Resolver> {
        Box::new(Self)
    }
}

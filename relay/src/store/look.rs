//! What a host asks of a relay's database from beside the relay.

use std::pin::Pin;

use super::{GroupSummary, Order, StoreFuture, TokenUse, Totals};

/// A relay's database, opened for reading.
pub trait Look: Send {
    /// What there is in all. Members count as lapsed after `max_lag_ms` of silence.
    fn totals(&mut self, max_lag_ms: u64) -> StoreFuture<'_, Totals>;

    /// The groups that hold most, the largest first.
    fn largest(&mut self, order: Order, limit: u32) -> StoreFuture<'_, Vec<GroupSummary>>;

    /// The groups whose id begins with these hexadecimal digits, in lower case; at the most `limit`.
    fn beginning<'a>(&'a mut self, digits: &'a str, limit: u32) -> StoreFuture<'a, Vec<GroupSummary>>;

    /// What there is of each access token that any group was made with.
    fn token_use(&mut self) -> StoreFuture<'_, Vec<TokenUse>>;

    /// Ends the connection.
    fn close(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

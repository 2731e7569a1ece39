//! SQLite as the client and the relay use it: whose file it is and which schema it has, statements that go to it
//! together, and named points at which a test makes the process die.

pub mod crash;
mod schema;
mod script;

pub use schema::{Schema, SchemaError};
pub use script::Script;

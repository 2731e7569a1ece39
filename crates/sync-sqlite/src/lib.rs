//! SQLite as the client and the relay use it: whose file it is and which schema it has, statements that go to it
//! together, named points at which a test makes the process die, and time that a test lets pass.

pub mod crash;
mod forward;
mod schema;
mod script;

pub use forward::Forward;
pub use schema::{Schema, SchemaError};
pub use script::Script;

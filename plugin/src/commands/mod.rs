//! What a webview can call. Each command has a permission of its own; `permissions/` says which go together.

pub(crate) mod data;
pub(crate) mod files;
pub(crate) mod group;
pub(crate) mod lifecycle;
pub(crate) mod pairing;
pub(crate) mod recovery;
pub(crate) mod vault;

use std::sync::Arc;

use tauri::State;

use crate::error::CommandError;
use crate::state::Ksync;

type App<'a> = State<'a, Arc<Ksync>>;
type Done<T = ()> = Result<T, CommandError>;

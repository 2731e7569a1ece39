//! `stress`: what takes too long, or too much of the disk, for every run of the tests.

use crate::process::{self, cargo};
use crate::{Failure, no_arguments, setup};

/// A hundred thousand blobs of this many bytes are 2 GB.
const BLOB_BYTES: &str = "20000";

/// `cargo xtask stress`: a backlog of 2 GB drains, by the test that does the same with 20 MB. Takes about 10 GB of the
/// disk while it runs.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    no_arguments(args)?;
    setup::everything()?;
    let test = "test(e2e::backlog::drains_whole_once_and_in_order)";
    let nextest = ["nextest", "run", "--package", "sync-cli", "--test", "it", "--no-capture", "-E", test];
    process::run(cargo(&nextest).env("KSYNC_BACKLOG_BLOB_BYTES", BLOB_BYTES))
}

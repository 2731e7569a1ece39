//! `lint`: everything that can be said of the code without running it.

use crate::process::{cargo, linted, run as run_program};
use crate::report::{Report, Tally};
use crate::{
    Failure, arrows, dependencies, documents, generate, no_arguments, permissions, setup, source, versions, web,
    workflows,
};

/// `cargo xtask lint`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    no_arguments(args)?;
    setup::everything()?;
    web::build()?;
    let mut report = Report::new();
    steps(&mut report);
    report.finish()
}

/// Each check as a step of its own.
pub(crate) fn steps(report: &mut Report) {
    // The build of the plugin writes into this folder.
    let permissions_before = permissions::read();
    report.step("lint: format", || once(&["fmt", "--all", "--check"]));
    report.step("lint: arrows between crates", || none(arrows::check(&arrows::metadata()?)?));
    report.step("lint: sources", || none(source::check(&source::read()?)));
    report.step("lint: dependencies", || none(dependencies::check(&arrows::metadata()?, &source::read()?)?));
    report.step("lint: versions", || none(versions::check(&arrows::metadata()?)?));
    report.step("lint: workflows", || none(workflows::check()?));
    report.step("lint: documents", || none(documents::check()?));
    // Not the advisories: their database is no registry and cannot be fetched everywhere. SECURITY.md says who looks at them.
    report.step("lint: licences, bans, sources", || {
        once(&["deny", "--log-level", "error", "check", "licenses", "bans", "sources"])
    });
    report.step("build of all, under clippy", || {
        run_program(linted(&mut cargo(&["test", "--workspace", "--no-run", "--quiet"]))).map(|()| Tally::ONE)
    });
    report.step("lint: permissions", || none(permissions::check(&permissions_before)));
    report.step("lint: generated files", || generate::check().map(|()| Tally::ONE));
}

fn once(args: &[&str]) -> Result<Tally, Failure> {
    run_program(&mut cargo(args)).map(|()| Tally::ONE)
}

/// One check that passes if it found nothing.
fn none(findings: Vec<Failure>) -> Result<Tally, Failure> {
    if findings.is_empty() { Ok(Tally::ONE) } else { Err(findings.join("\n")) }
}

//! `sync-sim`: plays simulated worlds through, or one of them step by step.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks on its standard output")]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use sync_sim::{Mutation, Run, Trace, attacks, fuzz, run, run_seed, voyage};

/// Simulated devices and a relay: every seed is a world of its own.
#[derive(Parser)]
#[command(name = "sync-sim")]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: print every step.
    #[arg(long)]
    trace: bool,
    /// Plant this bug and expect it to be found.
    #[arg(long, value_parser = |name: &str| Mutation::from_name(name).ok_or("no such mutation"))]
    mutation: Option<Mutation>,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// How many threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Play worlds with several relays instead.
    #[arg(long)]
    voyages: bool,
    /// Play the named attacks instead, each with its defences and without, and print the table.
    #[arg(long)]
    attacks: bool,
    /// Write the first inputs of the fuzzer's targets into its corpus instead.
    #[arg(long)]
    fuzz_seeds: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.attacks {
        return attacks();
    }
    if args.voyages {
        return voyages(&args);
    }
    if args.fuzz_seeds {
        return fuzz_seeds();
    }
    if let Some(seed) = args.seed {
        return one(seed, &args);
    }
    let begun = Instant::now();
    let summary = run(Run {
        from: args.from,
        seeds: args.seeds,
        jobs: args.jobs,
        mutation: args.mutation,
        keep_going: args.keep_going,
    });
    let seconds = begun.elapsed().as_secs_f64();
    print!("{}", summary.counters);
    println!(
        "{} seeds, {} events ({} a seed), {seconds:.1} s, {:.0} seeds/s",
        summary.seeds,
        summary.steps,
        summary.steps / summary.seeds.max(1),
        summary.seeds as f64 / seconds
    );
    for failure in &summary.failures {
        let planted = args.mutation.map_or(String::new(), |m| format!(" --mutation {}", m.as_str()));
        eprintln!("\nseed {} breaks {} at step {}: {}", failure.seed, failure.invariant, failure.step, failure.detail);
        eprintln!("replay: cargo run -p sync-sim -- --seed {} --trace{planted}", failure.seed);
    }
    if !summary.failures.is_empty() {
        return ExitCode::FAILURE;
    }
    let missing = summary.counters.missing();
    if args.seeds >= 1000 && args.mutation.is_none() && !missing.is_empty() {
        eprintln!("\nnever exercised: {}", missing.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn voyages(args: &Args) -> ExitCode {
    let (from, seeds) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    let begun = Instant::now();
    let (mut good, mut sum) = (true, sync_sim::Voyage::default());
    for seed in from..from + seeds {
        match voyage(seed) {
            Ok(one) => sum.add(one),
            Err(wrong) => {
                good = false;
                eprintln!("{wrong}");
                if !args.keep_going {
                    break;
                }
            }
        }
    }
    println!("{sum:?} in {seeds} worlds, {:.1} s", begun.elapsed().as_secs_f64());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn attacks() -> ExitCode {
    let mut good = true;
    println!("{:<10} {:<38} {:<38} without the defence", "by", "attack", "expected, and seen");
    for attack in attacks::all() {
        let report = attack.play();
        let defences: Vec<String> = attack.defences.iter().map(|defence| format!("{defence:?}")).collect();
        let control = report.control.as_ref().err().map_or("NO HARM", String::as_str);
        println!(
            "{:<10} {:<38} {:<38} {}: {control}",
            attack.by.as_str(),
            attack.name,
            attack.expected,
            defences.join(", ")
        );
        if !report.is_as_expected(&attack) {
            good = false;
            println!("           WRONG: {:?}", report.seen);
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fuzz_seeds() -> ExitCode {
    let seeds = fuzz::seeds::all();
    for target in fuzz::TARGETS {
        for (index, input) in seeds.get(target.name).into_iter().flatten().enumerate() {
            let file = target.corpus().join(format!("seed-{index:02}"));
            if let Err(error) = std::fs::create_dir_all(target.corpus()).and_then(|()| std::fs::write(&file, input)) {
                eprintln!("cannot write {}: {error}", file.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn one(seed: u64, args: &Args) -> ExitCode {
    let outcome = run_seed(seed, args.mutation, if args.trace { Trace::Text } else { Trace::Off });
    print!("{}", outcome.text);
    match outcome.failure {
        None => {
            println!("seed {seed}: all invariants hold after {} events", outcome.steps);
            ExitCode::SUCCESS
        }
        Some(failure) => {
            eprintln!("seed {seed} breaks {} at step {}: {}", failure.invariant, failure.step, failure.detail);
            ExitCode::FAILURE
        }
    }
}

//! Inputs of the fuzzer that are kept: none makes a decoder or a machine panic, or take more memory than it should.

use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use sync_sim::fuzz::{TARGETS, seeds};

#[test]
fn every_kept_input_is_held_out() {
    for target in TARGETS {
        let mut inputs = read(&target.corpus());
        // A corpus that nothing takes would try no more than a decoder's first line.
        let taken = inputs.values().filter(|input| target.try_one(input)).count();
        assert!(taken > 0, "none of the {} inputs in corpus/{} is taken", inputs.len(), target.name);
        inputs.extend([("zeros".to_owned(), vec![0; 1 << 20]), ("ones".to_owned(), vec![0xff; 1 << 20])]);
        inputs.insert("nothing".to_owned(), Vec::new());
        for (name, input) in inputs {
            let held = catch_unwind(|| target.try_one(&input));
            assert!(held.is_ok(), "corpus/{}/{name} is a find", target.name);
        }
    }
}

#[test]
fn the_seeds_of_today_are_taken_too() {
    let seeds = seeds::all();
    for target in TARGETS {
        let made = &seeds[target.name];
        assert!(made.iter().any(|input| target.try_one(input)), "{}: nothing is taken", target.name);
    }
}

#[test]
fn each_folder_is_a_target() {
    let corpus = TARGETS[0].corpus();
    let folders = fs::read_dir(corpus.parent().unwrap()).unwrap();
    let mut folders: Vec<_> = folders.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    let mut names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    folders.sort_unstable();
    names.sort_unstable();
    assert_eq!(folders, names);
}

fn read(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeMap::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect()
}

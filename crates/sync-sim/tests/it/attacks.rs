//! Every named attack ends as expected, and does harm where its defence is switched off.

use sync_rules::Defence;
use sync_sim::attacks;
use sync_types::Suite;

#[test]
fn every_attack_is_stopped_by_the_defence_that_is_said_to_stop_it() {
    let mut wrong = Vec::new();
    for attack in attacks::all() {
        let report = attack.play();
        if !report.is_as_expected(&attack) {
            wrong.push(format!("{} · {}: {report:?}", attack.by.as_str(), attack.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_defence_is_without_an_attack() {
    let tried: Vec<Defence> = attacks::all().iter().flat_map(|attack| attack.defences).copied().collect();
    // Without suite 1 there are no short codes, and nobody attacks them.
    let of_codes = [Defence::CodeOnce, Defence::PakePoints, Defence::NameplateOnce, Defence::NameplateTries];
    let there = |defence: &&Defence| Suite::XWing.is_ours() || !of_codes.contains(defence);
    let idle: Vec<_> = Defence::ALL.iter().filter(there).filter(|defence| !tried.contains(defence)).collect();
    assert!(idle.is_empty(), "nothing attacks where these stand: {idle:?}");
}

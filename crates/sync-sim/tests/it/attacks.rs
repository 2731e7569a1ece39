//! Every named attack ends as expected, and does harm where its defence is switched off.

use sync_sim::attacks;

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

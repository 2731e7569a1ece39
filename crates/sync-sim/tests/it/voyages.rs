//! Worlds with several relays.

use sync_sim::{Voyage, voyage};

#[test]
fn sixty_voyages_arrive() {
    let mut sum = Voyage::default();
    let wrong: Vec<String> = (0..60).filter_map(|seed| voyage(seed).map(|one| sum.add(one)).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(sum.pushed > 0 && sum.cuts > 0 && sum.restarts > 0 && sum.changes.iter().all(|n| *n > 0), "{sum:?}");
}

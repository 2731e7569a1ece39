//! Worlds with several relays.

use sync_sim::{Voyage, voyage};

/// Worlds that went wrong once: a first relay was given up while another list was on its way, or came back onto the list.
const ONCE_WRONG: [u64; 7] = [81, 85, 89, 131, 146, 158, 300];

#[test]
fn sixty_voyages_arrive() {
    let mut sum = Voyage::default();
    let seeds = (0..60).chain(ONCE_WRONG);
    let wrong: Vec<String> = seeds.filter_map(|seed| voyage(seed).map(|one| sum.add(one)).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(sum.pushed > 0 && sum.cuts > 0 && sum.restarts > 0 && sum.changes.iter().all(|n| *n > 0), "{sum:?}");
}

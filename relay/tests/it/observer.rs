//! The mailbox over the real observer and the real cryptography.

use std::collections::BTreeSet;

use mls_rs::client_builder::MlsConfig;
use mls_rs::time::MlsTime;
use mls_rs::{Client, ExtensionList, Group};
use sync_relay::mailbox::{CommitContext, GroupState, Limits};
use sync_rules::mls::{
    BASELINE, CIPHER_SUITE, EXTERNAL_PROOF, Identity, SETTINGS, context_extensions, crypto, judges, secret_key,
};
use sync_rules::{Observe, Observer};
use sync_types::frame::{Commit, Cut, WelcomeFor};
use sync_types::settings::Settings;
use sync_types::{Code, Opaque, encode};

use crate::support::{GROUP, Peer};

fn client(peer: &Peer) -> Client<impl MlsConfig + use<>> {
    let (rules, identity) = judges();
    Client::builder()
        .crypto_provider(crypto())
        .identity_provider(identity)
        .mls_rules(rules)
        .extension_types([SETTINGS, BASELINE])
        .custom_proposal_type(EXTERNAL_PROOF)
        .signing_identity(Identity::of(&peer.key.public()), secret_key(&peer.key), CIPHER_SUITE)
        .build()
}

fn group_info(group: &Group<impl MlsConfig>) -> Opaque {
    Opaque(group.group_info_message(true).unwrap().to_bytes().unwrap())
}

#[test]
fn real_commits_found_add_and_remove() {
    let [a, b, c] = [1, 2, 3].map(Peer::new);
    let observe = Observer::new(crypto());
    let time = MlsTime::from(1_000_000);
    let mut ours = client(&a)
        .create_group_with_id(
            GROUP.0.to_vec(),
            context_extensions(&Settings::default()),
            ExtensionList::new(),
            Some(time),
        )
        .unwrap();
    let (request, proof) = a.attach(0);
    let (mut state, _) = GroupState::create(&observe, &request, &proof, &group_info(&ours), 0).unwrap();
    assert_eq!(observe.found(&group_info(&ours)).unwrap().members, [(a.id, a.key.public())]);

    let add = |ours: &mut Group<_>, peer: &Peer| {
        let theirs = client(peer);
        let package =
            theirs.generate_key_package_message(ExtensionList::new(), ExtensionList::new(), Some(time)).unwrap();
        let output = ours.commit_builder().commit_time(time).add_member(package).unwrap().build().unwrap();
        ours.apply_pending_commit().unwrap();
        let welcome = Opaque(output.welcome_messages[0].to_bytes().unwrap());
        Commit {
            commit: Opaque(output.commit_message.to_bytes().unwrap()),
            group_info: group_info(ours),
            welcomes: vec![WelcomeFor { device: peer.id, welcome }],
        }
    };
    let nobody = BTreeSet::new();
    let limits = Limits::default();
    let context = CommitContext { observe: &observe, limits: &limits, attached: &nobody, now_ms: 1 };

    let first = add(&mut ours, &b);
    let mut damaged = first.clone();
    damaged.commit.0[200] ^= 1;
    assert!(state.commit(a.id, &damaged, context).is_err());
    let swapped = Commit { group_info: Opaque(vec![1, 2, 3]), ..first.clone() };
    assert_eq!(state.commit(a.id, &swapped, context).unwrap_err().code, Code::Protocol);
    state.commit(a.id, &first, context).unwrap();
    assert!(state.is_member(b.id));
    let second = add(&mut ours, &c);
    state.commit(a.id, &second, context).unwrap();
    assert_eq!((state.epoch(), state.is_member(c.id)), (2, true));

    let cut = encode(&Cut { last: vec![c.reached()], lost: false });
    let output = ours.commit_builder().authenticated_data(cut).remove_member(2).unwrap().build().unwrap();
    ours.apply_pending_commit().unwrap();
    let remove = Commit {
        commit: Opaque(output.commit_message.to_bytes().unwrap()),
        group_info: group_info(&ours),
        welcomes: vec![],
    };
    assert_eq!(state.commit(b.id, &remove, context).unwrap_err().code, Code::CommitRefused, "not its committer");
    state.commit(a.id, &remove, context).unwrap();
    assert!(!state.is_member(c.id));
    assert_eq!(state.commit(a.id, &remove, context).unwrap().writes, vec![], "again");
    assert_eq!(state.commit(a.id, &first, context).unwrap_err().code, Code::StaleEpoch);
}

//! A member that ends the group as no honest one does, and successors that are none.

use mls_rs::{
    CipherSuite, Client, ExtensionList, Group, MlsMessage,
    client_builder::MlsConfig,
    error::MlsError,
    identity::{SigningIdentity, basic::BasicCredential, basic::BasicIdentityProvider},
    mls_rules::{CommitOptions, DefaultMlsRules},
    psk::{ExternalPskId, PreSharedKey},
    time::MlsTime,
};
use mls_rs_core::protocol_version::ProtocolVersion;
use sync_core::membership::{ApplyError, Change, JoinError, Prepared, key_package};
use sync_rules::mls::{self, Crypto, Lineage, Violation};
use sync_rules::statement::sign_move;
use sync_rules::{Observe, ObserveError, SigningKey};
use sync_types::frame::{MOVE, Move, Signature};
use sync_types::settings::Settings;
use sync_types::{GroupId, Opaque, Suite, encode};

use super::successor::{Fleet, RANDOM, observer, other};
use super::world::{Device, GROUP, NOW, key, settings};

fn time() -> Option<MlsTime> {
    Some(MlsTime::from(NOW / 1000))
}

type Psk = Option<(ExternalPskId, PreSharedKey)>;

/// A device that believes everything.
fn lax(key: &SigningKey, suite: Suite, psk: Psk) -> Client<impl MlsConfig + use<>> {
    let credential = BasicCredential::new(key.device_id().as_bytes().to_vec()).into_credential();
    let options = CommitOptions::new()
        .with_path_required(true)
        .with_ratchet_tree_extension(true)
        .with_single_welcome_message(true)
        .with_allow_external_commit(true);
    let builder = match psk {
        Some((name, secret)) => Client::builder().psk(name, secret),
        None => Client::builder(),
    };
    builder
        .crypto_provider(Crypto::every())
        .identity_provider(BasicIdentityProvider)
        .mls_rules(DefaultMlsRules::new().with_commit_options(options))
        .extension_types([mls::SETTINGS, mls::BASELINE])
        .custom_proposal_type(mls::EXTERNAL_PROOF)
        .signing_identity(
            SigningIdentity::new(credential, key.public().to_vec().into()),
            mls::secret_key(key),
            mls::cipher_suite(suite),
        )
        .build()
}

fn package(client: &Client<impl MlsConfig>) -> MlsMessage {
    client.generate_key_package_message(ExtensionList::new(), ExtensionList::new(), time()).unwrap()
}

/// Takes a member into the fleet that runs mls-rs with the stock rules.
fn insider(fleet: &mut Fleet, n: u8) -> Group<impl MlsConfig + use<>> {
    let client = lax(&key(n), fleet.suite, None);
    let welcomes = fleet.change(Change::Add(vec![package(&client).to_bytes().unwrap()]), vec![]);
    client.join_group(None, &MlsMessage::from_bytes(&welcomes[0].1).unwrap(), time()).unwrap().0
}

/// The group that takes another's place, as somebody wants it.
struct Wanted {
    maker: u8,
    group: Vec<u8>,
    suite: Suite,
    settings: Settings,
    others: Vec<Vec<u8>>,
    psk: Psk,
    further: usize,
}

/// The MLS group id of the successor of a group at this epoch.
fn id(epoch: u64) -> Vec<u8> {
    Lineage::successor(&GROUP, epoch, &RANDOM)
}

/// A commit and what comes with it, as its maker signs both.
fn packed(maker: u8, commit: &[u8], group_info: &[u8], welcome: &[u8]) -> Vec<u8> {
    let [commit, group_info, welcome] = [commit, group_info, welcome].map(|bytes| Opaque(bytes.to_vec()));
    let mut moved = Move { tag: MOVE, commit, group_info, welcome, signature: Signature([0; 64]) };
    sign_move(&key(maker), &GROUP, &mut moved);
    encode(&moved)
}

/// The commit of an honest move.
fn commit_of(prepared: &Prepared) -> Vec<u8> {
    sync_types::decode::<Move>(&prepared.commit).unwrap().commit.0
}

/// Its GroupInfo and Welcome.
fn made(wanted: &Wanted) -> (Vec<u8>, Vec<u8>) {
    let client = lax(&key(wanted.maker), wanted.suite, wanted.psk.clone());
    let context = mls::context_extensions(&wanted.settings);
    let mut group = client.create_group_with_id(wanted.group.clone(), context, ExtensionList::new(), time()).unwrap();
    let mut builder = group.commit_builder().commit_time(time().unwrap());
    if let Some((name, _)) = wanted.psk.clone() {
        builder = builder.add_external_psk(name).unwrap();
    }
    for other in &wanted.others {
        builder = builder.add_member(MlsMessage::from_bytes(other).unwrap()).unwrap();
    }
    let output = builder.build().unwrap();
    group.apply_pending_commit().unwrap();
    for _ in 0..wanted.further {
        group.commit(vec![]).unwrap();
        group.apply_pending_commit().unwrap();
    }
    let info = group.group_info_message_allowing_ext_commit(true).unwrap().to_bytes().unwrap();
    (info, output.welcome_messages[0].to_bytes().unwrap())
}

fn key_package_of(n: u8, suite: Suite) -> Vec<u8> {
    key_package(Crypto::every(), suite, &key(n), NOW).unwrap().message
}

#[test]
fn a_group_ends_for_another_suite_alone() {
    let mut fleet = Fleet::of(Suite::Fips, 2);
    let mut insider = insider(&mut fleet, 5);
    let (_, to) = (fleet.suite, mls::cipher_suite(other(fleet.suite)));
    let context = insider.context().extensions.clone();
    let changed = mls::context_extensions(&Settings { relays: vec![Opaque(b"evil".to_vec())], ..settings() });
    let (epoch, version) = (fleet.relay.epoch, mls::PROTOCOL_VERSION);
    let good = id(epoch);
    type End = (Vec<u8>, ProtocolVersion, CipherSuite, ExtensionList);
    let ends: Vec<(&str, End, bool)> = vec![
        ("as it should be", (good.clone(), version, to, context.clone()), true),
        ("same suite", (good.clone(), version, mls::cipher_suite(fleet.suite), context.clone()), false),
        ("a suite that nobody has", (good.clone(), version, CipherSuite::CURVE25519_AES128, context.clone()), false),
        ("a version that nobody has", (good.clone(), ProtocolVersion::new(2), to, context.clone()), false),
        ("other settings", (good.clone(), version, to, changed), false),
        ("no settings", (good.clone(), version, to, ExtensionList::new()), false),
        ("its own id", (GROUP.as_bytes().to_vec(), version, to, context.clone()), false),
        (
            "an id of another group",
            (Lineage::successor(&GroupId([8; 32]), epoch, &RANDOM), version, to, context.clone()),
            false,
        ),
        ("epochs counted anew", (id(0), version, to, context.clone()), false),
        ("epochs left out", (id(epoch + 1), version, to, context.clone()), false),
        ("no id of a group", (vec![7; 31], version, to, context), false),
    ];
    let secrets = key_package(Crypto::every(), other(fleet.suite), &key(2), NOW).unwrap();
    for (what, (group, version, suite, extensions), good) in ends {
        let builder = insider.commit_builder().reinit(Some(group), version, suite, extensions).unwrap();
        let commit = builder.build().unwrap().commit_message.to_bytes().unwrap();
        insider.clear_pending_commit();
        let (info, welcome) = made(&Wanted {
            maker: 5,
            group: id(epoch),
            suite: other(fleet.suite),
            settings: settings(),
            others: vec![key_package_of(1, other(fleet.suite)), secrets.message.clone()],
            psk: None,
            further: 0,
        });
        let commit = packed(5, &commit, &info, &welcome);
        let seen = observer().process(&fleet.relay.snapshot, &commit, &info);
        let ended = fleet.devices[1].1.apply_by(&commit, &[&secrets.secrets]);
        assert_eq!(seen.is_ok(), good, "{what}: {seen:?}");
        // That the successor was made under no secret of this group shows whoever opens the Welcome.
        let followed = matches!(&ended, Err(ApplyError::Successor(JoinError::OtherSuccessor("secret"))));
        assert_eq!(followed, good, "{what}: {ended:?}");
        if !good {
            let by_rule = matches!(seen, Err(ObserveError::Refused(Violation::Move)));
            assert!(
                by_rule && matches!(&ended, Err(ApplyError::Refused(Violation::Move))),
                "{what}: {seen:?} {ended:?}"
            );
            assert!(ended.is_err_and(|e| e.deserves_reject()));
        }
    }
}

#[test]
fn no_relay_takes_another_successor_than_the_one_that_was_named() {
    let mut fleet = Fleet::of(Suite::XWing, 3);
    let (packages, _) = fleet.packages();
    let prepared = fleet.prepare(&packages).unwrap();
    fleet.observe(&prepared).unwrap();
    let (suite, epoch) = (Suite::Fips, fleet.relay.epoch);
    let honest = || Wanted {
        maker: 1,
        group: id(epoch),
        suite,
        settings: settings(),
        others: packages.clone(),
        psk: None,
        further: 0,
    };
    let with = |others: &[u8]| others.iter().map(|n| key_package_of(*n, suite)).collect::<Vec<_>>();
    let back = [2, 3].map(|n| key_package_of(n, Suite::XWing)).to_vec();
    let none = Settings { relays: vec![Opaque(b"evil".to_vec())], ..settings() };
    let tries = [
        ("group id", Wanted { group: Lineage::successor(&GROUP, epoch, &[6; 16]), ..honest() }),
        ("group id", Wanted { group: Lineage::successor(&GroupId([6; 32]), epoch, &RANDOM), ..honest() }),
        ("suite", Wanted { suite: Suite::XWing, others: back, ..honest() }),
        ("epoch", Wanted { further: 1, ..honest() }),
        ("members", Wanted { others: with(&[2]), ..honest() }),
        ("members", Wanted { others: with(&[2, 3, 4]), ..honest() }),
        ("members", Wanted { others: with(&[2, 4]), ..honest() }),
        ("settings", Wanted { settings: none, ..honest() }),
        ("signer", Wanted { maker: 2, others: with(&[1, 3]), ..honest() }),
    ];
    let commit = commit_of(&prepared);
    let process = |commit: &[u8], info: &[u8]| observer().process(&fleet.relay.snapshot, commit, info);
    for (what, wanted) in tries {
        let (info, welcome) = made(&wanted);
        let seen = process(&packed(1, &commit, &info, &welcome), &info).unwrap_err();
        assert!(matches!(seen, ObserveError::Successor(found) if found == what), "{what}: {seen:?}");
    }
    let junk = process(&packed(1, &commit, b"junk", b""), b"junk").unwrap_err();
    assert!(matches!(junk, ObserveError::NotAGroupInfo), "{junk:?}");
    // What came with the commit is the committer's word, and the GroupInfo beside it is of the same group.
    let posed = process(&packed(2, &commit, &prepared.group_info, b""), &prepared.group_info).unwrap_err();
    assert!(matches!(posed, ObserveError::Successor("signature")), "{posed:?}");
    let beside = process(&prepared.commit, &made(&honest()).0).unwrap_err();
    assert!(matches!(beside, ObserveError::GroupInfo), "{beside:?}");
}

#[test]
fn no_member_follows_another_than_who_ended_the_group_nor_without_its_secret() {
    let mut fleet = Fleet::of(Suite::XWing, 2);
    let mut insider = insider(&mut fleet, 5);
    let secrets = key_package(Crypto::every(), Suite::Fips, &key(2), NOW).unwrap();
    let others: Vec<_> = vec![secrets.message.clone(), key_package_of(5, Suite::Fips)];
    let epoch = fleet.relay.epoch;
    let prepared = fleet.prepare(&others).unwrap();
    let commit = commit_of(&prepared);
    // The insider has the secret, as every member of the last epoch.
    insider.process_incoming_message(MlsMessage::from_bytes(&commit).unwrap()).unwrap();
    let label = b"0ksync/1 successor".to_vec();
    let secret = insider.export_secret(&label, &[], 32).unwrap();
    let name = ExternalPskId::new([&label[..], GROUP.as_bytes(), &insider.current_epoch().to_be_bytes()].concat());
    let psk = Some((name.clone(), PreSharedKey::new(secret.as_bytes().to_vec())));
    let another = Some((name, PreSharedKey::new(vec![1; 32])));

    let honest = || Wanted {
        maker: 1,
        group: id(epoch),
        suite: Suite::Fips,
        settings: settings(),
        others: others.clone(),
        psk: psk.clone(),
        further: 0,
    };
    let with = |others: &[u8]| {
        let rest = others.iter().map(|n| key_package_of(*n, Suite::Fips));
        std::iter::once(secrets.message.clone()).chain(rest).collect::<Vec<_>>()
    };
    let elsewhere = Settings { relays: vec![Opaque(b"evil".to_vec())], ..settings() };
    let tries = [
        ("secret", Wanted { psk: None, ..honest() }),
        ("maker", Wanted { maker: 5, others: with(&[1]), ..honest() }),
        ("group id", Wanted { group: Lineage::successor(&GROUP, epoch, &[6; 16]), ..honest() }),
        ("members", Wanted { others: with(&[]), ..honest() }),
        ("members", Wanted { others: with(&[5, 6]), ..honest() }),
        ("members", Wanted { others: with(&[6]), ..honest() }),
        ("settings", Wanted { settings: elsewhere, ..honest() }),
    ];
    let state = fleet.devices[1].1.state().unwrap();
    let follow = |(info, welcome): &(Vec<u8>, Vec<u8>)| {
        let mut device = Device::load(Crypto::every(), &state).unwrap();
        device.apply_by(&packed(1, &commit, info, welcome), &[&secrets.secrets])
    };
    follow(&made(&honest())).unwrap();
    for (what, wanted) in tries {
        match follow(&made(&wanted)) {
            Err(ApplyError::Successor(JoinError::OtherSuccessor(found))) => assert_eq!(found, what),
            other => panic!("{what}: {other:?}"),
        }
    }
    // A member that saw another end of the group, on another branch, has another secret.
    let branch = follow(&made(&Wanted { psk: another, ..honest() }));
    assert!(matches!(branch, Err(ApplyError::Successor(JoinError::Invalid(_)))), "{branch:?}");
    // The relay is shown the group that the members are in, and no twin of it.
    let twin = follow(&(made(&honest()).0, made(&honest()).1));
    assert!(matches!(twin, Err(ApplyError::Successor(JoinError::OtherSuccessor("GroupInfo")))), "{twin:?}");
    // And nobody but who made the commit says what comes with it.
    let (info, welcome) = made(&honest());
    let mut device = Device::load(Crypto::every(), &state).unwrap();
    let posed = packed(5, &commit, &info, &welcome);
    let posed = (device.may_be_ordered(&posed), device.apply_by(&posed, &[&secrets.secrets]));
    assert!(matches!(posed, (false, Err(ApplyError::Refused(Violation::Move)))), "{posed:?}");
}

/// Why the secret is an exported one: once this fails, RFC 9420's own way is open.
#[test]
fn the_library_lets_no_group_go_that_has_an_empty_leaf() {
    for leaves in [false, true] {
        let clients = [1, 2, 3].map(|n| lax(&key(n), Suite::XWing, None));
        let context = mls::context_extensions(&settings());
        let group = GROUP.as_bytes().to_vec();
        let mut old = clients[0].create_group_with_id(group, context.clone(), ExtensionList::new(), time()).unwrap();
        let adds = old.commit_builder().commit_time(time().unwrap());
        let adds = adds.add_member(package(&clients[1])).unwrap().add_member(package(&clients[2])).unwrap();
        adds.build().unwrap();
        old.apply_pending_commit().unwrap();
        if leaves {
            old.commit_builder().remove_member(1).unwrap().build().unwrap();
            old.apply_pending_commit().unwrap();
        }
        let (to, new) = (mls::cipher_suite(Suite::Fips), Some(id(1)));
        old.commit_builder().reinit(new, mls::PROTOCOL_VERSION, to, context).unwrap().build().unwrap();
        old.apply_pending_commit().unwrap();
        let identity = old.current_member_signing_identity().unwrap().clone();
        let successor = old.get_reinit_client(Some(mls::secret_key(&key(1))), Some(identity)).unwrap();
        let others: &[u8] = if leaves { &[3] } else { &[2, 3] };
        // It judges them by the machine's clock, whatever time it is told.
        let package = |n: &u8| {
            let client = lax(&key(*n), Suite::Fips, None);
            client.generate_key_package_message(ExtensionList::new(), ExtensionList::new(), None).unwrap()
        };
        let went = successor.commit(others.iter().map(package).collect(), ExtensionList::new(), time());
        let refused = matches!(went, Err(MlsError::NotASubgroup));
        assert_eq!(refused, leaves, "{:?}", went.map(drop));
    }
}

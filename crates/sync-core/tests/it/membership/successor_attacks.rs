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
use sync_core::membership::{ApplyError, Change, JoinError, key_package};
use sync_rules::mls::{self, Crypto, Violation};
use sync_rules::{ObserveError, SigningKey};
use sync_types::settings::Settings;
use sync_types::{GroupId, Opaque, Suite};

use super::successor::{Fleet, NEW, observer, other};
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
        .with_single_welcome_message(false)
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
    group: GroupId,
    suite: Suite,
    settings: Settings,
    others: Vec<Vec<u8>>,
    psk: Psk,
    further: usize,
}

/// Its GroupInfo and welcomes.
fn made(wanted: &Wanted) -> (Vec<u8>, Vec<Vec<u8>>) {
    let client = lax(&key(wanted.maker), wanted.suite, wanted.psk.clone());
    let id = wanted.group.as_bytes().to_vec();
    let context = mls::context_extensions(&wanted.settings);
    let mut group = client.create_group_with_id(id, context, ExtensionList::new(), time()).unwrap();
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
    (info, output.welcome_messages.iter().map(|welcome| welcome.to_bytes().unwrap()).collect())
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
    let (id, version) = (NEW.as_bytes().to_vec(), mls::PROTOCOL_VERSION);
    type End = (Vec<u8>, ProtocolVersion, CipherSuite, ExtensionList);
    let ends: Vec<(&str, End, bool)> = vec![
        ("as it should be", (id.clone(), version, to, context.clone()), true),
        ("same suite", (id.clone(), version, mls::cipher_suite(fleet.suite), context.clone()), false),
        ("a suite that nobody has", (id.clone(), version, CipherSuite::CURVE25519_AES128, context.clone()), false),
        ("a version that nobody has", (id.clone(), ProtocolVersion::new(2), to, context.clone()), false),
        ("other settings", (id.clone(), version, to, changed), false),
        ("no settings", (id.clone(), version, to, ExtensionList::new()), false),
        ("its own id", (GROUP.as_bytes().to_vec(), version, to, context.clone()), false),
        ("no id of a group", (vec![7; 31], version, to, context), false),
    ];
    for (what, (id, version, suite, extensions), good) in ends {
        let builder = insider.commit_builder().reinit(Some(id), version, suite, extensions).unwrap();
        let commit = builder.build().unwrap().commit_message.to_bytes().unwrap();
        insider.clear_pending_commit();
        let info = made(&Wanted {
            maker: 5,
            group: NEW,
            suite: other(fleet.suite),
            settings: settings(),
            others: [1, 2].map(|n| key_package_of(n, other(fleet.suite))).into(),
            psk: None,
            further: 0,
        })
        .0;
        let seen = observer().moves(&fleet.relay.snapshot, &commit, &info);
        let ended = fleet.devices[1].1.end(&commit);
        assert_eq!((seen.is_ok(), ended.is_ok()), (good, good), "{what}: {seen:?} {ended:?}");
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
    fleet.moves(&prepared).unwrap();
    let suite = Suite::Fips;
    let honest = || Wanted {
        maker: 1,
        group: NEW,
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
        ("group id", Wanted { group: GroupId([6; 32]), ..honest() }),
        ("suite", Wanted { suite: Suite::XWing, others: back, ..honest() }),
        ("epoch", Wanted { further: 1, ..honest() }),
        ("members", Wanted { others: with(&[2]), ..honest() }),
        ("members", Wanted { others: with(&[2, 3, 4]), ..honest() }),
        ("members", Wanted { others: with(&[2, 4]), ..honest() }),
        ("settings", Wanted { settings: none, ..honest() }),
        ("signer", Wanted { maker: 2, others: with(&[1, 3]), ..honest() }),
    ];
    for (what, wanted) in tries {
        let seen = observer().moves(&fleet.relay.snapshot, &prepared.commit, &made(&wanted).0).unwrap_err();
        assert!(matches!(seen, ObserveError::Successor(found) if found == what), "{what}: {seen:?}");
    }
    let junk = observer().moves(&fleet.relay.snapshot, &prepared.commit, b"junk").unwrap_err();
    assert!(matches!(junk, ObserveError::NotAGroupInfo), "{junk:?}");
}

#[test]
fn no_member_follows_another_than_who_ended_the_group_nor_without_its_secret() {
    let mut fleet = Fleet::of(Suite::XWing, 2);
    let mut insider = insider(&mut fleet, 5);
    let secrets = key_package(Crypto::every(), Suite::Fips, &key(2), NOW).unwrap();
    let others: Vec<_> = vec![secrets.message.clone(), key_package_of(5, Suite::Fips)];
    let prepared = fleet.prepare(&others).unwrap();
    let ended = fleet.devices[1].1.end(&prepared.commit).unwrap();
    // The insider has the secret, as every member of the last epoch.
    insider.process_incoming_message(MlsMessage::from_bytes(&prepared.commit).unwrap()).unwrap();
    let label = b"0ksync/1 successor".to_vec();
    let secret = insider.export_secret(&label, &[], 32).unwrap();
    let name = ExternalPskId::new([&label[..], GROUP.as_bytes(), &insider.current_epoch().to_be_bytes()].concat());
    let psk = Some((name.clone(), PreSharedKey::new(secret.as_bytes().to_vec())));
    let another = Some((name, PreSharedKey::new(vec![1; 32])));

    let honest = || Wanted {
        maker: 1,
        group: NEW,
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
        ("", honest()),
        ("secret", Wanted { psk: None, ..honest() }),
        ("maker", Wanted { maker: 5, others: with(&[1]), ..honest() }),
        ("group id", Wanted { group: GroupId([6; 32]), ..honest() }),
        ("members", Wanted { others: with(&[]), ..honest() }),
        ("members", Wanted { others: with(&[5, 6]), ..honest() }),
        ("members", Wanted { others: with(&[6]), ..honest() }),
        ("settings", Wanted { settings: elsewhere, ..honest() }),
    ];
    let follow = |wanted: &Wanted| {
        let (_, welcomes) = made(wanted);
        Device::follow(Crypto::every(), &ended, &secrets.secrets, &welcomes[0])
    };
    for (what, wanted) in tries {
        match follow(&wanted) {
            Ok(joined) => assert_eq!(("", NEW), (what, joined.membership.group_id())),
            Err(JoinError::OtherSuccessor(found)) => assert_eq!(found, what),
            Err(other) => panic!("{what}: {other:?}"),
        }
    }
    // A member that saw another end of the group, on another branch, has another secret.
    let branch = follow(&Wanted { psk: another, ..honest() });
    assert!(matches!(branch, Err(JoinError::Invalid(_))), "{branch:?}");
}

/// Why the secret is an exported one: once this fails, RFC 9420's own way is open.
#[test]
fn the_library_lets_no_group_go_that_has_an_empty_leaf() {
    for leaves in [false, true] {
        let clients = [1, 2, 3].map(|n| lax(&key(n), Suite::XWing, None));
        let context = mls::context_extensions(&settings());
        let id = GROUP.as_bytes().to_vec();
        let mut old = clients[0].create_group_with_id(id, context.clone(), ExtensionList::new(), time()).unwrap();
        let adds = old.commit_builder().commit_time(time().unwrap());
        let adds = adds.add_member(package(&clients[1])).unwrap().add_member(package(&clients[2])).unwrap();
        adds.build().unwrap();
        old.apply_pending_commit().unwrap();
        if leaves {
            old.commit_builder().remove_member(1).unwrap().build().unwrap();
            old.apply_pending_commit().unwrap();
        }
        let (to, new) = (mls::cipher_suite(Suite::Fips), Some(NEW.as_bytes().to_vec()));
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

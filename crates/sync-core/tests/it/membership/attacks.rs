//! Commits that no honest device makes. They come from a member that runs mls-rs with the stock rules.

use super::liar::Liar;
use super::world::{Device, GROUP, NOW, World, key, observer, restart, settings};
use mls_rs::{
    Client, CryptoProvider, Extension, ExtensionList, MlsMessage,
    client_builder::MlsConfig,
    error::MlsError,
    group::{CommitOutput, Group, proposal::CustomProposal},
    identity::{SigningIdentity, basic::BasicCredential, basic::BasicIdentityProvider},
    mls_rules::{CommitOptions, DefaultMlsRules},
    time::MlsTime,
};
use sync_core::membership::{ApplyError, Change, Invitation, JoinError, PrepareError, Prepared, key_package};
use sync_rules::{
    Observe, ObserveError, SigningKey,
    mls::{self, CommitMessage, Identity, InvalidIdentity, NotACommit, Violation},
};
use sync_types::{DeviceId, Opaque, Suite, settings::Settings};

fn time() -> Option<MlsTime> {
    Some(MlsTime::from(NOW / 1000))
}

/// A device that believes everything, under any id.
fn lax(id: DeviceId, key: &SigningKey, path: bool) -> Client<impl MlsConfig + use<>> {
    lax_over(mls::crypto(), id, key, path)
}

fn lax_over<P: CryptoProvider + Clone>(
    crypto: P,
    id: DeviceId,
    key: &SigningKey,
    path: bool,
) -> Client<impl MlsConfig + use<P>> {
    let credential = BasicCredential::new(id.as_bytes().to_vec()).into_credential();
    Client::builder()
        .crypto_provider(crypto)
        .identity_provider(BasicIdentityProvider)
        .mls_rules(DefaultMlsRules::new().with_commit_options(CommitOptions::new().with_path_required(path)))
        .extension_types([mls::SETTINGS, mls::BASELINE])
        .custom_proposal_type(mls::EXTERNAL_PROOF)
        .signing_identity(
            SigningIdentity::new(credential, key.public().to_vec().into()),
            mls::secret_key(key),
            mls::CIPHER_SUITE,
        )
        .build()
}

fn package(client: &Client<impl MlsConfig>) -> MlsMessage {
    client.generate_key_package_message(ExtensionList::new(), ExtensionList::new(), time()).unwrap()
}

/// A world whose third member, with key 3, is not honest.
fn with_insider(path: bool) -> (World, Group<impl MlsConfig>) {
    with_insider_over(mls::crypto(), path)
}

fn with_insider_over<P: CryptoProvider + Clone>(crypto: P, path: bool) -> (World, Group<impl MlsConfig + use<P>>) {
    let mut world = World::with(2);
    let insider = join_insider(&mut world, crypto, 3, path);
    (world, insider)
}

fn join_insider<P: CryptoProvider + Clone>(
    world: &mut World,
    crypto: P,
    n: u8,
    path: bool,
) -> Group<impl MlsConfig + use<P>> {
    let client = lax_over(crypto, key(n).device_id(), &key(n), path);
    let add = world.prepare(0, Change::Add(vec![package(&client).to_bytes().unwrap()]));
    world.order(&add);
    let welcome = MlsMessage::from_bytes(&add.welcomes[0].1).unwrap();
    client.join_group(None, &welcome, time()).unwrap().0
}

/// What the insider uploads for its commit.
fn upload(insider: &mut Group<impl MlsConfig>, output: CommitOutput) -> Prepared {
    insider.apply_pending_commit().unwrap();
    let commit = output.commit_message.to_bytes().unwrap();
    let group_info = insider.group_info_message(true).unwrap().to_bytes().unwrap();
    Prepared {
        hash: CommitMessage::hash(&commit),
        commit,
        welcomes: vec![],
        group_info,
        epoch: insider.current_epoch(),
    }
}

/// The relay refuses it, a member refuses it, and nothing has changed. Gives both reasons.
fn refused(world: &mut World, bad: &Prepared) -> (ObserveError, ApplyError) {
    let observed = world.observe(bad).unwrap_err();
    let before = world.devices[1].state().unwrap();
    let applied = world.devices[1].apply(&bad.commit).unwrap_err();
    assert_eq!(world.devices[1].state().unwrap(), before);
    assert!(applied.deserves_reject());
    // The group goes on.
    let next = world.prepare(0, Change::SelfUpdate);
    world.order(&next);
    world.assert_agreement();
    (observed, applied)
}

fn assert_violation(world: &mut World, bad: &Prepared, expected: impl Fn(&Violation) -> bool) {
    let (observed, applied) = refused(world, bad);
    assert!(matches!(&observed, ObserveError::Refused(v) if expected(v)), "{observed:?}");
    assert!(matches!(&applied, ApplyError::Refused(v) if expected(v)), "{applied:?}");
}

#[test]
fn the_insider_is_a_member_like_any_other() {
    let (mut world, mut insider) = with_insider(true);
    let output = insider.commit(vec![]).unwrap();
    let good = upload(&mut insider, output);
    world.order(&good);
    world.assert_agreement();
}

#[test]
fn a_stranger_cannot_let_itself_in() {
    let (mut world, insider) = with_insider(true);
    let info = insider.group_info_message_allowing_ext_commit(true).unwrap();
    let stranger = lax(key(7).device_id(), &key(7), true);
    let (joined, commit) = stranger.external_commit_builder().unwrap().build(info).unwrap();
    let commit_bytes = commit.to_bytes().unwrap();
    let group_info = joined.group_info_message(true).unwrap().to_bytes().unwrap();
    let bad = Prepared {
        hash: CommitMessage::hash(&commit_bytes),
        commit: commit_bytes,
        welcomes: vec![],
        group_info,
        epoch: 3,
    };
    assert_violation(&mut world, &bad, |v| matches!(v, Violation::External));
}

#[test]
fn nobody_takes_a_members_id_with_another_key() {
    let victim = key(2).device_id();
    let impostor = package(&lax(victim, &key(7), true));
    let mismatch = |v: &Violation| matches!(v, Violation::Identity(InvalidIdentity::Mismatch));

    // An honest sponsor refuses it.
    let mut world = World::with(2);
    let error = world.try_prepare(0, Change::Add(vec![impostor.to_bytes().unwrap()])).unwrap_err();
    assert!(matches!(&error, PrepareError::Refused(v) if mismatch(v)), "{error:?}");

    // An insider puts the victim out and the impostor in its place.
    let (mut world, mut insider) = with_insider(true);
    let seat = insider
        .roster()
        .members_iter()
        .find(|m| m.signing_identity.credential.as_basic().unwrap().identifier() == victim.as_bytes());
    let seat = seat.unwrap().index;
    let builder = insider.commit_builder().commit_time(time().unwrap());
    let output = builder.remove_member(seat).unwrap().add_member(impostor).unwrap().build().unwrap();
    let bad = upload(&mut insider, output);
    assert_violation(&mut world, &bad, mismatch);
}

#[test]
fn no_member_changes_its_key_in_passing() {
    let (mut world, mut insider) = with_insider(true);
    // The stock provider wants the same id; under it, another key is a valid successor.
    let other = key(7);
    let credential = BasicCredential::new(key(3).device_id().as_bytes().to_vec()).into_credential();
    let identity = SigningIdentity::new(credential, other.public().to_vec().into());
    let output = insider.commit_builder().set_new_signing_identity(mls::secret_key(&other), identity).build().unwrap();
    let bad = upload(&mut insider, output);
    assert_violation(&mut world, &bad, |v| matches!(v, Violation::Identity(InvalidIdentity::Mismatch)));
}

#[test]
fn proposals_that_groups_do_not_use_are_refused() {
    let proposal = |v: &Violation| matches!(v, Violation::Proposal);

    let (mut world, mut insider) = with_insider(true);
    let custom = CustomProposal::new(mls::EXTERNAL_PROOF, b"proof".to_vec());
    let output = insider.commit_builder().custom_proposal(custom).build().unwrap();
    let bad = upload(&mut insider, output);
    assert_violation(&mut world, &bad, proposal);

    let (mut world, mut insider) = with_insider(true);
    let builder = insider.commit_builder();
    let output =
        builder.reinit(None, mls::PROTOCOL_VERSION, mls::CIPHER_SUITE, ExtensionList::new()).unwrap().build().unwrap();
    let group_info = insider.group_info_message(true).unwrap().to_bytes().unwrap();
    let commit = output.commit_message.to_bytes().unwrap();
    let bad = Prepared { hash: CommitMessage::hash(&commit), commit, welcomes: vec![], group_info, epoch: 3 };
    assert_violation(&mut world, &bad, proposal);
}

#[test]
fn a_commit_that_renews_no_keys_is_refused() {
    let (mut world, mut insider) = with_insider(false);
    let newcomer = package(&lax(key(7).device_id(), &key(7), true));
    let builder = insider.commit_builder().commit_time(time().unwrap());
    let output = builder.add_member(newcomer).unwrap().build().unwrap();
    assert!(!output.contains_update_path);
    let bad = upload(&mut insider, output);
    let (observed, applied) = refused(&mut world, &bad);
    assert!(matches!(observed, ObserveError::NotACommit(NotACommit::NoPath)));
    assert!(matches!(applied, ApplyError::NotACommit(NotACommit::NoPath)));
}

#[test]
fn leaves_carry_nothing_else_and_declare_what_every_member_declares() {
    let mut extra = ExtensionList::new();
    extra.set(Extension::new(mls::SETTINGS, vec![1]));
    let (mut world, mut insider) = with_insider(true);
    let output = insider.commit_builder().set_leaf_node_extensions(extra.clone()).build().unwrap();
    let bad = upload(&mut insider, output);
    let (observed, applied) = refused(&mut world, &bad);
    assert!(matches!(observed, ObserveError::NotACommit(NotACommit::LeafExtensions)));
    assert!(matches!(applied, ApplyError::NotACommit(NotACommit::LeafExtensions)));

    let client = lax(key(7).device_id(), &key(7), true);
    let full = client.generate_key_package_message(ExtensionList::new(), extra, time()).unwrap();
    let error = world.try_prepare(0, Change::Add(vec![full.to_bytes().unwrap()])).unwrap_err();
    assert!(matches!(error, PrepareError::Refused(Violation::LeafExtensions)), "{error:?}");

    // The same client without the proposal that will one day let external commits in.
    let poor = Client::builder()
        .crypto_provider(mls::crypto())
        .identity_provider(Identity::default())
        .extension_types([mls::SETTINGS, mls::BASELINE])
        .signing_identity(Identity::of(&key(7).public()), mls::secret_key(&key(7)), mls::CIPHER_SUITE)
        .build();
    let error = world.try_prepare(0, Change::Add(vec![package(&poor).to_bytes().unwrap()])).unwrap_err();
    let missing = |e: &MlsError| matches!(e, MlsError::RequiredProposalNotFound(p) if *p == mls::EXTERNAL_PROOF);
    assert!(matches!(&error, PrepareError::KeyPackage(e) if missing(e)), "{error:?}");
}

#[test]
fn the_context_holds_good_settings_and_nothing_else() {
    let attempt = |extensions: ExtensionList, expected: fn(&Violation) -> bool| {
        let (mut world, mut insider) = with_insider(true);
        let output = insider.commit_builder().set_group_context_ext(extensions).unwrap().build().unwrap();
        let bad = upload(&mut insider, output);
        assert_violation(&mut world, &bad, expected);
    };
    let other_app = Settings { app_id: b"com.example.other".to_vec(), ..settings() };
    attempt(mls::context_extensions(&other_app), |v| matches!(v, Violation::AppId));
    let too_many = Settings { relays: vec![Opaque(b"embedded".to_vec()); 9], ..settings() };
    attempt(mls::context_extensions(&too_many), |v| matches!(v, Violation::Settings(_)));
    attempt(ExtensionList::new(), |v| matches!(v, Violation::Extensions));
    let mut more = mls::context_extensions(&settings());
    more.set(Extension::new(mls::BASELINE, vec![1]));
    attempt(more, |v| matches!(v, Violation::Extensions));
}

/// Every honest member refuses the commit, is as before, and the group goes on without it.
fn rejected_by_all(world: &mut World, bad: &Prepared, expected: fn(&MlsError) -> bool) {
    let relay_before = world.relay.clone();
    // The relay cannot know better: this is why commits are provisional and REJECT exists.
    world.relay = world.observe(bad).unwrap().after;
    for device in &mut world.devices {
        let before = device.state().unwrap();
        let error = device.apply(&bad.commit).unwrap_err();
        assert!(error.deserves_reject());
        match error {
            ApplyError::Invalid(e) => assert!(expected(&e), "{e:?}"),
            ApplyError::OwnUnknown => assert!(device.pending().is_some()),
            other => panic!("{other:?}"),
        }
        assert_eq!(device.state().unwrap(), before);
        device.clear_pending();
        restart(device);
    }
    world.relay = relay_before;
    let next = world.prepare(0, Change::SelfUpdate);
    world.order(&next);
    world.assert_agreement();
    world.exporter();
}

#[test]
fn a_wrong_membership_tag_is_seen_by_members_and_not_by_the_relay() {
    let mut world = World::with(3);
    let mut prepared = world.prepare(0, Change::SelfUpdate);
    *prepared.commit.last_mut().unwrap() ^= 1;
    rejected_by_all(&mut world, &prepared, |e| matches!(e, MlsError::InvalidMembershipTag));
}

#[test]
fn a_wrong_confirmation_tag_is_seen_by_members_and_not_by_the_relay() {
    let crypto = Liar::default();
    let (mut world, mut insider) = with_insider_over(crypto.clone(), true);
    crypto.lie_in_tags();
    let output = insider.commit(vec![]).unwrap();
    let bad = upload(&mut insider, output);
    rejected_by_all(&mut world, &bad, |e| matches!(e, MlsError::InvalidConfirmationTag));
}

#[test]
fn a_commit_that_one_member_cannot_open_is_undone_by_its_reject() {
    let crypto = Liar::default();
    let mut world = World::with(3);
    let mut insider = join_insider(&mut world, crypto.clone(), 4, true);
    // The first secret of its path goes to its neighbour in the tree, the third member.
    crypto.spoil_next_seal();
    let output = insider.commit(vec![]).unwrap();
    let bad = upload(&mut insider, output);

    let relay_before = world.relay.clone();
    world.relay = world.observe(&bad).unwrap().after;
    let before: Vec<_> = world.devices.iter_mut().map(|d| d.state().unwrap()).collect();
    assert!(world.devices[0].apply(&bad.commit).is_ok());
    assert!(world.devices[1].apply(&bad.commit).is_ok());
    let error = world.devices[2].apply(&bad.commit).unwrap_err();
    assert!(matches!(error, ApplyError::Invalid(_)) && error.deserves_reject());

    world.relay = relay_before;
    for (device, state) in world.devices.iter_mut().zip(before) {
        *device = Device::load(mls::crypto(), &state).unwrap();
    }
    world.assert_agreement();
    let next = world.prepare(2, Change::Remove(vec![key(4).device_id()]));
    world.order(&next);
    world.assert_agreement();
    world.exporter();
}

#[test]
fn a_turned_confirmation_tag_differs_from_the_group_infos() {
    let mut world = World::with(2);
    let mut prepared = world.prepare(0, Change::SelfUpdate);
    // Behind it are the membership tag of 32 bytes and its length.
    let at = prepared.commit.len() - 34;
    prepared.commit[at] ^= 1;
    assert!(matches!(world.observe(&prepared), Err(ObserveError::GroupInfo)));
}

#[test]
fn a_group_info_that_is_not_the_commits_is_refused() {
    let mut world = World::with(2);
    let old = world.devices[0].group_info().unwrap();
    let state = world.devices[0].state().unwrap();
    let prepared = world.prepare(0, Change::SelfUpdate);
    // Another commit for the same epoch by the same device.
    let mut copy = Device::load(mls::crypto(), &state).unwrap();
    let other = copy.prepare(Change::SelfUpdate, vec![], None, NOW).unwrap();
    // The right one, signed by somebody else.
    let mut second = Device::load(mls::crypto(), &world.devices[1].state().unwrap()).unwrap();
    second.apply(&prepared.commit).unwrap();
    let by_another = second.group_info().unwrap();
    assert_ne!(by_another, prepared.group_info);

    for wrong in [old, other.group_info, by_another] {
        let error = observer().process(&world.relay.snapshot, &prepared.commit, &wrong).unwrap_err();
        assert!(matches!(error, ObserveError::GroupInfo), "{error:?}");
    }
    let error = observer().process(&world.relay.snapshot, &prepared.commit, &prepared.commit).unwrap_err();
    assert!(matches!(error, ObserveError::NotAGroupInfo));
    assert!(world.observe(&prepared).is_ok());
}

#[test]
fn other_messages_groups_and_epochs_are_told_apart() {
    let mut world = World::with(2);
    let prepared = world.prepare(0, Change::SelfUpdate);
    let mut longer = prepared.commit.clone();
    longer.push(0);
    for bytes in [&longer[..], &prepared.commit[1..], b""] {
        assert!(matches!(world.devices[1].apply(bytes), Err(ApplyError::NotACommit(NotACommit::Malformed))));
    }
    let info = &prepared.group_info;
    assert!(matches!(world.devices[1].apply(info), Err(ApplyError::NotACommit(NotACommit::OtherMessage))));

    let elsewhere = sync_types::GroupId([8; 32]);
    let mut stranger = Device::create(mls::crypto(), Suite::FOUNDED, &key(2), elsewhere, &settings(), NOW).unwrap();
    assert!(matches!(stranger.apply(&prepared.commit), Err(ApplyError::OtherGroup)));
    let found = observer().found(&stranger.group_info().unwrap()).unwrap();
    let error = observer().process(&found.snapshot, &prepared.commit, &prepared.group_info).unwrap_err();
    assert!(matches!(error, ObserveError::OtherGroup));

    world.order(&prepared);
    let ahead = world.prepare(0, Change::SelfUpdate);
    assert_eq!(world.relay.group, GROUP);
    let step = world.observe(&ahead).unwrap();
    let error = observer().process(&step.before.snapshot, &prepared.commit, &prepared.group_info).unwrap_err();
    assert!(matches!(error, ObserveError::Stale { .. }));
    let error = observer().process(b"no snapshot", &ahead.commit, &ahead.group_info).unwrap_err();
    assert!(matches!(error, ObserveError::Snapshot(_)));
}

#[test]
fn a_committers_leaf_that_nobody_can_encrypt_to_is_refused() {
    let crypto = Liar::default();
    let (mut world, mut insider) = with_insider_over(crypto.clone(), true);
    // The first pair is the root's. Receivers derive that one themselves, and see the difference.
    crypto.weaken_key(2);
    let output = insider.commit(vec![]).unwrap();
    let bad = upload(&mut insider, output);
    assert_violation(&mut world, &bad, |v| *v == Violation::WeakKey);
}

#[test]
fn a_newcomer_with_such_a_leaf_is_not_added() {
    let (mut world, mut insider) = with_insider(true);
    let crypto = Liar::default();
    let newcomer = lax_over(crypto.clone(), key(7).device_id(), &key(7), true);
    // The first pair is the leaf's or the one for the Welcome. That one hurts its sponsor alone.
    let mut refusals = 0;
    for number in [1, 2] {
        crypto.weaken_key(number);
        let package = package(&newcomer);
        let error = world.try_prepare(0, Change::Add(vec![package.to_bytes().unwrap()])).unwrap_err();
        if matches!(error, PrepareError::Refused(Violation::WeakKey)) {
            refusals += 1;
            let output =
                insider.commit_builder().commit_time(time().unwrap()).add_member(package).unwrap().build().unwrap();
            let bad = upload(&mut insider, output);
            assert_violation(&mut world, &bad, |v| *v == Violation::WeakKey);
        }
    }
    assert_eq!(refusals, 1);
}

#[test]
fn a_group_that_was_founded_with_such_a_leaf_is_neither_kept_nor_joined() {
    let crypto = Liar::default();
    let founder = lax_over(crypto.clone(), key(1).device_id(), &key(1), false);
    let found = || {
        let (id, extensions) = (GROUP.as_bytes().to_vec(), mls::context_extensions(&settings()));
        let mut group = founder.create_group_with_id(id, extensions, ExtensionList::new(), time()).unwrap();
        let info = group.group_info_message(true).unwrap().to_bytes().unwrap();
        let newcomer = key_package(mls::crypto(), Suite::FOUNDED, &key(2), NOW).unwrap();
        let package = MlsMessage::from_bytes(&newcomer.message).unwrap();
        // Without a path, so that the founder's leaf stays.
        let output = group.commit_builder().commit_time(time().unwrap()).add_member(package).unwrap().build().unwrap();
        let agreed = settings();
        let invitation = Invitation { group: GROUP, sponsor: key(1).device_id(), settings: &agreed };
        let welcome = output.welcome_messages[0].to_bytes().unwrap();
        let joined = Device::join(mls::crypto(), &newcomer.secrets, &welcome, invitation).map(drop);
        (observer().found(&info).map(drop), joined)
    };
    assert!(matches!(found(), (Ok(()), Ok(()))));
    crypto.weaken_key(1);
    let (observed, joined) = found();
    assert!(matches!(observed, Err(ObserveError::Refused(Violation::WeakKey))), "{observed:?}");
    assert!(matches!(joined, Err(JoinError::Refused(Violation::WeakKey))), "{joined:?}");
}

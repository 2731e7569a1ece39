//! Whoever comes to a door without being a member, and doors behind which somebody lies.

#![allow(clippy::unwrap_used)] // what helps a test may fail as a test does

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use sync_relay::{ContentConfig, Relay, RelayConfig, RunningRelay};
use sync_types::frame::Content as Request;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::files::{FileInfo, FilesPolicy};
use crate::testing::{SOON, pair};
use crate::{ClientEvent, Discovery, SyncClient, SyncConfig};

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.unwrap()
}

async fn relay(content: Option<&Path>) -> Arc<RunningRelay> {
    let config = RelayConfig { content: content.map(ContentConfig::within), ..RelayConfig::in_memory() };
    Arc::new(Relay::start(config).await.unwrap())
}

async fn device(relay: &Arc<RunningRelay>, folder: &Path, name: &str, files: FilesPolicy) -> SyncClient {
    let config = SyncConfig::default().local_relay(relay).home(folder.join(name)).device_name(name);
    SyncClient::new(config.files(files)).await.unwrap()
}

async fn put(client: &SyncClient, folder: &Path, bytes: &[u8]) -> FileInfo {
    let path = folder.join("put");
    std::fs::write(&path, bytes).unwrap();
    client.files().put(&path, None, |_, _| ()).await.unwrap()
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}

/// The own door, once it is open.
async fn door(client: &SyncClient) -> Door {
    let doors = &client.inner.porter.start.doors;
    soon(async {
        loop {
            if let Some(own) = &doors.state().own {
                let door = own.doorway.door(Hearing::Note);
                if !door.places.is_empty() {
                    return door;
                }
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn prove(client: &SyncClient, exporter: [u8; 32]) -> Attach {
    client.inner.porter.ask(|reply| Command::AttachForContent { exporter, reply }).await.unwrap()
}

/// What is said to whoever asks for content with this proof, on a stream of its own.
async fn asked(stream: Stream, attach: Attach, content: Sealed) -> Result<FromRelay, SyncError> {
    let (mut reader, mut writer) = (stream.reader, stream.writer);
    writer.send(&ToRelay::Content(Request { attach, ask: ContentAsk::Take(content) })).await?;
    soon(reader.next()).await
}

async fn content_of(client: &SyncClient, file: &FileInfo) -> Sealed {
    let row = client.inner.reader.file(file.id, client.inner.porter.group()).await.unwrap();
    row.unwrap().content
}

fn code(answer: Result<FromRelay, SyncError>) -> Option<Code> {
    match answer {
        Ok(FromRelay::Refused(refused)) => Some(refused.code()),
        Ok(FromRelay::Content(ContentAnswer::Given)) => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_a_removed_device_and_a_member_of_another_group_get_nothing_by_a_hash_that_they_know() {
    let (folder, relay) = (tempfile::tempdir().unwrap(), relay(None).await);
    let a = device(&relay, folder.path(), "a", FilesPolicy::default()).await;
    let b = device(&relay, folder.path(), "b", FilesPolicy { direct: false, ..FilesPolicy::default() }).await;
    let other = device(&relay, folder.path(), "other", FilesPolicy::default()).await;
    pair(&a, &b).await;
    // For whom the door stays open when the other one is removed.
    let stays = device(&relay, folder.path(), "stays", FilesPolicy { direct: false, ..FilesPolicy::default() }).await;
    pair(&a, &stays).await;
    let file = put(&a, folder.path(), &bytes(100_000)).await;
    let content = content_of(&a, &file).await;
    let foreign = put(&other, folder.path(), b"of another group").await;
    let door = door(&a).await;
    let come = async || {
        let doorway = Doorway::open(None).await.unwrap();
        let road = doorway.reach(&door).await.unwrap();
        (doorway, road)
    };

    // A member gets it, and nothing that is not its group's.
    let (_doorway, road) = come().await;
    let stream = road.open().await.unwrap();
    let proof = prove(&b, stream.exporter).await;
    assert_eq!(code(asked(stream, proof.clone(), content).await), None);
    let stream = road.open().await.unwrap();
    let unknown = content_of(&other, &foreign).await;
    assert_eq!(code(asked(stream, proof.clone(), unknown).await), Some(Code::ContentMissing));
    let stream = road.open().await.unwrap();
    let longer = Sealed { size: content.size + 1, ..content };
    assert_eq!(code(asked(stream, proof.clone(), longer).await), Some(Code::ContentMissing));

    // Its proof is worth nothing on another connection, nor is that of another group's member, nor one that is no proof.
    let (_one, elsewhere) = come().await;
    let stream = elsewhere.open().await.unwrap();
    assert_eq!(code(asked(stream, proof.clone(), content).await), Some(Code::NotMember));
    let (_two, elsewhere) = come().await;
    let stream = elsewhere.open().await.unwrap();
    let of_other = prove(&other, stream.exporter).await;
    assert_eq!(code(asked(stream, of_other.clone(), content).await), Some(Code::NotMember));
    let (_three, elsewhere) = come().await;
    let stream = elsewhere.open().await.unwrap();
    let named = Attach { group: proof.group, device: proof.device, ..prove(&other, stream.exporter).await };
    assert_eq!(code(asked(stream, named, content).await), Some(Code::NotMember));
    // Nor does this device hand anything to itself.
    let (_four, elsewhere) = come().await;
    let stream = elsewhere.open().await.unwrap();
    let own = prove(&a, stream.exporter).await;
    assert_eq!(code(asked(stream, own, content).await), Some(Code::NotMember));

    // And nothing that it takes is taken.
    let stream = road.open().await.unwrap();
    let (mut reader, mut writer) = (stream.reader, stream.writer);
    let give = Request { attach: proof.clone(), ask: ContentAsk::Give(content) };
    writer.send(&ToRelay::Content(give)).await.unwrap();
    assert_eq!(code(soon(reader.next()).await), Some(Code::Protocol));

    // Who was a member is none once it is removed, on the connection that it has.
    let mut events = a.events();
    a.remove_device(b.status().await.unwrap().device.unwrap()).await.unwrap();
    soon(async { while !matches!(events.next().await, Some(ClientEvent::DeviceRemoved { .. })) {} }).await;
    let stream = road.open().await.unwrap();
    assert_eq!(code(asked(stream, proof, content).await), Some(Code::NotMember));
}

/// What stands behind a door of a member's that lies.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// It says nothing.
    Silent,
    /// It says that it hands it over, and then something else.
    Garbage,
    /// It says that, and ends.
    Cut,
    /// It hands over what is refused by nobody who is honest.
    Refusal(Code),
}

/// Lies to whoever comes, and counts them.
async fn lie(doorway: Arc<Doorway>, lie: Lie, visits: Arc<AtomicUsize>) {
    while let Some(visitor) = doorway.next().await {
        let Ok(road) = visitor.let_in().await else { continue };
        let visits = visits.clone();
        tokio::spawn(async move {
            while let Some(Stream { mut reader, mut writer, .. }) = road.accept().await {
                let Ok(ToRelay::Content(_)) = reader.asked().await else { continue };
                visits.fetch_add(1, Ordering::SeqCst);
                let given = FromRelay::Content(ContentAnswer::Given);
                match lie {
                    Lie::Silent => std::mem::forget((reader, writer)),
                    Lie::Garbage => {
                        writer.answer(&given).await.unwrap();
                        let _ = writer.write_all(&[7; 100_000]).await;
                        writer.finish().await;
                    }
                    Lie::Cut => {
                        writer.answer(&given).await.unwrap();
                        writer.finish().await;
                    }
                    Lie::Refusal(code) => writer.answer(&refused(code)).await.unwrap(),
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_hands_over_wrongly_comes_from_the_relay_and_nothing_wrong_is_seen() {
    let refusals = [Code::Removed, Code::Closed, Code::DiskFull, Code::ContentForged].map(Lie::Refusal);
    for lies in [Lie::Silent, Lie::Garbage, Lie::Cut].into_iter().chain(refusals) {
        let folder = tempfile::tempdir().unwrap();
        let relay = relay(Some(&folder.path().join("relay"))).await;
        let on_demand = FilesPolicy { automatic_up_to: 0, ..FilesPolicy::default() };
        let a = device(&relay, folder.path(), "a", on_demand).await;
        let b = device(&relay, folder.path(), "b", FilesPolicy { direct: false, ..on_demand }).await;
        pair(&a, &b).await;
        let given = bytes(300_000);
        let file = put(&b, folder.path(), &given).await;
        b.files().wait_given(file.id, SOON, |_, _| ()).await.unwrap();
        let _open = door(&a).await;

        let doorway = Arc::new(Doorway::open(None).await.unwrap());
        let visits = Arc::new(AtomicUsize::new(0));
        let liar = tokio::spawn(lie(doorway.clone(), lies, visits.clone()));
        let doors = &a.inner.porter.start.doors;
        let mut known = doors.known.subscribe();
        let (channel, data) = (DIRECT_CHANNEL.to_owned(), encode(&doorway.door(Hearing::Note)));
        b.inner.porter.ask(|reply| Command::Presence { channel, data, reply }).await.unwrap();
        soon(async {
            while doors.others().is_empty() {
                known.changed().await.unwrap()
            }
        })
        .await;

        let to = folder.path().join("got");
        let fetched = soon(a.files().get(file.id, &to, SOON, |_, _| ())).await;
        assert!(fetched.is_ok(), "{lies:?}: {fetched:?}");
        assert!(std::fs::read(&to).unwrap() == given, "{lies:?}");
        assert!(visits.load(Ordering::SeqCst) > 0, "{lies:?}: nobody asked there");
        liar.abort();
    }
}

/// No place leads there: the packets go through an iroh relay that both use.
#[tokio::test(flavor = "multi_thread")]
async fn where_no_network_leads_from_one_to_the_other_a_server_carries_their_packets() {
    let mut config = iroh_relay::server::ServerConfig::default();
    config.relay = Some(iroh_relay::server::RelayConfig::new((std::net::Ipv4Addr::LOCALHOST, 0)));
    let server = iroh_relay::server::Server::spawn(config).await.unwrap();
    let relay = format!("http://{}", server.http_addr().unwrap());
    let by_servers = Discovery::Servers { lookup: format!("{relay}/pkarr"), relay };
    let (here, there) =
        (Doorway::open(Some(&by_servers)).await.unwrap(), Doorway::open(Some(&by_servers)).await.unwrap());
    let mut moves = there.moves();
    let door = soon(async {
        loop {
            let door = there.door(Hearing::Note);
            if !door.relay.is_empty() {
                // As it is for whoever is in another network.
                return Door { places: Vec::new(), ..door };
            }
            moves.next().await;
        }
    })
    .await;
    let visit = async {
        let road = there.next().await.unwrap().let_in().await.unwrap();
        road.accept().await.unwrap()
    };
    let call = async {
        // It has to have found its server, too.
        loop {
            if let Ok(road) = here.reach(&door).await {
                let stream = road.open().await.unwrap();
                let (reader, mut writer) = (stream.reader, stream.writer);
                writer.write_all(b"x").await.unwrap();
                return (road, reader, writer, stream.exporter);
            }
        }
    };
    let (came, (_road, _reader, _writer, exporter)) = soon(async { tokio::join!(visit, call) }).await;
    assert_eq!(came.exporter, exporter, "both ends have the same value to prove by");
}

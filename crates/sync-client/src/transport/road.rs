//! A connection to a relay, or to another device, for as many streams as are wanted.

use std::sync::Arc;

use iroh::endpoint::{Connection, RecvStream, SendStream};
use sync_types::Code;

use super::framed::{FrameReader, FrameWriter, Guard};
use super::local::Open;
use super::{EXPORTER_LABEL, Stream};
use crate::{RelayPath, SyncError};

/// A connection. It ends once neither this value nor a stream of it is left.
pub(crate) struct Road {
    /// How the relay was reached.
    pub(crate) path: RelayPath,
    over: Over,
}

enum Over {
    /// Each stream has an exporter value of its own.
    Process(Open),
    Quic {
        connection: Connection,
        exporter: [u8; 32],
        /// Says that the endpoint is used.
        used: Arc<()>,
    },
}

impl Road {
    pub(super) fn local(open: Open) -> Self {
        Self { path: RelayPath::Process, over: Over::Process(open) }
    }

    pub(super) fn quic(path: RelayPath, connection: Connection, used: Arc<()>) -> Result<Self, SyncError> {
        Self::labelled(path, EXPORTER_LABEL, connection, used)
    }

    /// The exporter value is that of this label.
    pub(super) fn labelled(
        path: RelayPath,
        label: &[u8],
        connection: Connection,
        used: Arc<()>,
    ) -> Result<Self, SyncError> {
        let mut exporter = [0; 32];
        connection
            .export_keying_material(&mut exporter, label, b"")
            .map_err(|_| SyncError::new(Code::Internal, "the connection gives no exporter value"))?;
        Ok(Self { path, over: Over::Quic { connection, exporter, used } })
    }

    /// Waits until it is over.
    pub(crate) async fn over(&self) {
        match &self.over {
            Over::Process(_) => std::future::pending().await,
            Over::Quic { connection, .. } => drop(connection.closed().await),
        }
    }

    /// The next stream that the other side opens. `None` once the connection is over.
    pub(crate) async fn accept(&self) -> Option<Stream> {
        match &self.over {
            // A relay opens none.
            Over::Process(_) => None,
            Over::Quic { connection, exporter, used } => {
                let (send, receive) = connection.accept_bi().await.ok()?;
                Some(over_quic(self.path, *exporter, connection, used, send, receive))
            }
        }
    }

    /// Whether no stream can be opened on it any more.
    pub(crate) fn is_over(&self) -> bool {
        match &self.over {
            Over::Process(_) => false,
            Over::Quic { connection, .. } => connection.close_reason().is_some(),
        }
    }

    /// Opens a stream.
    pub(crate) async fn open(&self) -> Result<Stream, SyncError> {
        let path = self.path;
        match &self.over {
            Over::Process(open) => {
                let local = open().ok_or_else(stopped)?;
                let guard: Guard = Arc::new(());
                Ok(Stream {
                    path,
                    exporter: local.exporter,
                    reader: FrameReader::new(local.reader, guard.clone()),
                    writer: FrameWriter::new(local.writer, guard),
                })
            }
            Over::Quic { connection, exporter, used } => {
                let (send, receive) = connection.open_bi().await.map_err(super::quic::unreachable)?;
                Ok(over_quic(path, *exporter, connection, used, send, receive))
            }
        }
    }
}

fn over_quic(
    path: RelayPath,
    exporter: [u8; 32],
    connection: &Connection,
    used: &Arc<()>,
    send: SendStream,
    receive: RecvStream,
) -> Stream {
    let guard: Guard = Arc::new((connection.clone(), used.clone()));
    Stream { path, exporter, reader: FrameReader::new(receive, guard.clone()), writer: FrameWriter::new(send, guard) }
}

pub(super) fn stopped() -> SyncError {
    SyncError::new(Code::RelayUnreachable, "the relay in this process has stopped")
}

//! A connection to a relay, for as many streams as are wanted.

use std::sync::Arc;

use iroh::endpoint::Connection;
use sync_types::Code;

use super::framed::{FrameReader, FrameWriter, Guard};
use super::local::Open;
use super::{EXPORTER_LABEL, Stream};
use crate::{RelayPath, SyncError};

/// A connection to a relay. It ends once neither this value nor a stream of it is left.
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
        let mut exporter = [0; 32];
        connection
            .export_keying_material(&mut exporter, EXPORTER_LABEL, b"")
            .map_err(|_| SyncError::new(Code::Internal, "the connection gives no exporter value"))?;
        Ok(Self { path, over: Over::Quic { connection, exporter, used } })
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
                let guard: Guard = Arc::new((connection.clone(), used.clone()));
                Ok(Stream {
                    path,
                    exporter: *exporter,
                    reader: FrameReader::new(receive, guard.clone()),
                    writer: FrameWriter::new(send, guard),
                })
            }
        }
    }
}

pub(super) fn stopped() -> SyncError {
    SyncError::new(Code::RelayUnreachable, "the relay in this process has stopped")
}

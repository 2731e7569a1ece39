//! TLS of the HTTP listener itself, where no proxy in front has it: with a certificate from files, which are read again when they
//! change, or one that is asked for and renewed by ACME (RFC 8555) and proved by TLS-ALPN-01 (RFC 8737) on this listener.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use iroh_relay::server::streams::MaybeTlsStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sync_types::Code;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls_acme::AcmeConfig;
use tokio_rustls_acme::caches::DirCache;

use crate::config::{Acme, Tls};
use crate::server::crypto_provider;
use crate::{StartError, identity};

/// How often it is looked whether the certificate's files have changed.
const LOOK: Duration = Duration::from_secs(30);
/// What a certification authority speaks when it looks who holds a name (RFC 8737 §6.2).
const CHALLENGE: &[u8] = b"acme-tls/1";

/// Takes TLS connections. Clones share the certificate.
#[derive(Clone)]
pub(crate) struct Secured(TlsAcceptor);

/// Keeps the certificate fresh while it lives.
pub(crate) struct Renewal(JoinHandle<()>);

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Secured {
    /// Reads the certificate, or begins to ask for one.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for files that hold no certificate or no key of its own, or `IO`.
    pub(crate) fn start(tls: &Tls) -> Result<(Self, Renewal), StartError> {
        let (resolver, renewal): (Arc<dyn ResolvesServerCert>, _) = match tls {
            Tls::Files { certificate, key } => {
                let files = Arc::new(Files::read(certificate.clone(), key.clone())?);
                (files.clone(), tokio::spawn(async move { files.watch().await }))
            }
            Tls::Acme(acme) => {
                let mut state = acme_config(acme)?.state();
                let resolver = state.resolver();
                let renewal = tokio::spawn(async move {
                    while let Some(event) = state.next().await {
                        match event {
                            Ok(event) => tracing::info!("certificate: {event:?}"),
                            // It tries again by itself, ever more slowly.
                            Err(error) => tracing::warn!("no certificate yet: {error}"),
                        }
                    }
                });
                (resolver, renewal)
            }
        };
        let mut config = ServerConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| StartError::new(Code::Internal, format!("TLS cannot be set up: {e}")))?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec(), CHALLENGE.to_vec()];
        Ok((Self(TlsAcceptor::from(Arc::new(config))), Renewal(renewal)))
    }

    /// Greets a connection; `None` for one that has had all that it came for.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<Option<MaybeTlsStream>> {
        let stream = self.0.accept(stream).await?;
        let is_challenge = stream.get_ref().1.alpn_protocol() == Some(CHALLENGE);
        Ok((!is_challenge).then_some(MaybeTlsStream::Tls(stream)))
    }
}

/// A certificate from files.
#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Files {
    fn read(certificate: PathBuf, key: PathBuf) -> Result<Self, StartError> {
        let current = RwLock::new(Arc::new(certified(&certificate, &key)?));
        Ok(Self { certificate, key, current })
    }

    /// Reads the files again whenever one of them has changed. What cannot be used leaves the certificate as it is.
    async fn watch(&self) {
        let mut seen = self.changed();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.changed();
            if now == seen {
                continue;
            }
            seen = now;
            self.reload();
        }
    }

    fn reload(&self) {
        match certified(&self.certificate, &self.key) {
            Ok(fresh) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
                tracing::info!("the certificate was read again");
            }
            Err(error) => tracing::warn!(%error, "the certificate has changed and cannot be used: the last one stays"),
        }
    }

    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| path.metadata().and_then(|file| file.modified()).ok())
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Whoever looks for the proof of a name finds none here.
        let is_challenge = hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == CHALLENGE));
        (!is_challenge).then(|| self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(certificate: &Path, key: &Path) -> Result<CertifiedKey, StartError> {
    let unreadable = |path: &Path, e: rustls::pki_types::pem::Error| match e {
        rustls::pki_types::pem::Error::Io(e) => StartError::io("read", path, &e),
        e => {
            StartError::new(Code::InvalidArgument, format!("{} holds no PEM of the expected kind: {e}", path.display()))
        }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| unreadable(certificate, e))?;
    if chain.is_empty() {
        return Err(StartError::new(
            Code::InvalidArgument,
            format!("{} holds no certificate: it is to hold the whole chain in PEM", certificate.display()),
        ));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, e))?;
    CertifiedKey::from_der(chain, private, &crypto_provider()).map_err(|e| {
        let message = format!("{} is not the key of {}: {e}", key.display(), certificate.display());
        StartError::new(Code::InvalidArgument, message)
    })
}

fn acme_config(acme: &Acme) -> Result<AcmeConfig<std::io::Error>, StartError> {
    let client = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| StartError::new(Code::Internal, format!("TLS cannot be set up: {e}")))?;
    let client = match &acme.roots {
        Some(path) => {
            let invalid = |e: &dyn std::fmt::Display| {
                StartError::new(Code::InvalidArgument, format!("{} holds no root certificate: {e}", path.display()))
            };
            let mut roots = RootCertStore::empty();
            for root in CertificateDer::pem_file_iter(path).map_err(|e| invalid(&e))? {
                roots.add(root.map_err(|e| invalid(&e))?).map_err(|e| invalid(&e))?;
            }
            client.with_root_certificates(roots)
        }
        None => {
            use rustls_platform_verifier::BuilderVerifierExt;
            client
                .with_platform_verifier()
                .map_err(|e| StartError::new(Code::Io, format!("the system's root certificates cannot be read: {e}")))?
        }
    };
    // The account's key and the certificate's lie there.
    identity::private_folder(&acme.cache)?;
    Ok(AcmeConfig::new_with_client_tls_config(&acme.domains, Arc::new(client.with_no_client_auth()))
        .contact(acme.contact.iter().map(|address| format!("mailto:{address}")))
        .directory(&acme.directory)
        .cache(DirCache::new(acme.cache.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.pem")));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    }

    #[test]
    fn files_that_cannot_be_used_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let ((certificate, key), (_, other)) = (write(folder.path(), "a.example"), write(folder.path(), "b.example"));
        assert!(certified(&certificate, &key).is_ok());
        let absent = folder.path().join("absent");
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        for (certificate, key, code, about) in [
            (&certificate, &other, Code::InvalidArgument, "is not the key of"),
            (&absent, &key, Code::Io, "absent"),
            (&empty, &key, Code::InvalidArgument, "holds no certificate"),
            (&certificate, &empty, Code::InvalidArgument, "empty"),
        ] {
            let error = certified(certificate, key).unwrap_err();
            assert!(error.code == code && error.message.contains(about), "{error:?}");
        }
    }

    #[test]
    fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = write(folder.path(), "a.example");
        let files = Files::read(certificate.clone(), key.clone()).unwrap();
        let current = || files.current.read().unwrap().cert[0].clone();
        let first = current();
        let (renewed, its_key) = write(folder.path(), "b.example");
        std::fs::copy(&renewed, &certificate).unwrap();
        files.reload();
        assert_eq!(current(), first, "half of it was renewed");
        std::fs::copy(&its_key, &key).unwrap();
        files.reload();
        let second = current();
        assert_ne!(second, first);
        std::fs::write(&certificate, "no certificate").unwrap();
        files.reload();
        assert_eq!(current(), second);
    }
}

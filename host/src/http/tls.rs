//! TLS by rustls: certificate, key and clients' authorities, read again when their files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config;
use crate::shutdown::Shutdown;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What handshakes are made with; swapped whole when the files change.
pub struct Tls {
    files: config::Tls,
    current: ArcSwap<ServerConfig>,
    /// When the files that were read first had been changed.
    first: Vec<Option<SystemTime>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Which of them cannot be used, and why.
    pub fn new(files: config::Tls) -> Result<Self, String> {
        let (first, current) = (stamp(&files), ArcSwap::from(read(&files)?));
        Ok(Self {
            files,
            current,
            first,
        })
    }

    /// What makes a handshake.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }
}

/// When the files were changed.
fn stamp(files: &config::Tls) -> Vec<Option<SystemTime>> {
    let paths = [Some(&files.cert), Some(&files.key), files.client_ca.as_ref()];
    let changed = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).ok();
    paths.into_iter().flatten().map(changed).collect()
}

/// Reads the files again when they change, until the node drains. Where they cannot be used, or do not belong to each other yet,
/// those before hold.
pub async fn follow(tls: Arc<Tls>, shutdown: Shutdown) {
    // What is in use, and what was complained of: files may become readable without being changed.
    let (mut used, mut told) = (tls.first.clone(), None);
    loop {
        tokio::select! {
            () = shutdown.draining() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let now = stamp(&tls.files);
        if now == used {
            continue;
        }
        match read(&tls.files) {
            Ok(config) => {
                (used, told) = (now, None);
                tls.current.store(config);
                tracing::info!(cert = %tls.files.cert.display(), "a changed certificate is in use");
            }
            Err(_) if told.as_ref() == Some(&now) => {}
            Err(error) => {
                told = Some(now);
                tracing::error!(%error, "server.tls: the changed files cannot be used; those before hold");
            }
        }
    }
}

fn read(files: &config::Tls) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates("cert", &files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| format!("`key`: {} holds no private key: {error}", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("client_ca", path)? {
                roots
                    .add(certificate)
                    .map_err(|error| format!("`client_ca`: {}: {error}", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| format!("`client_ca`: {error}"))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        let (cert, key) = (files.cert.display(), files.key.display());
        format!("`cert` {cert} and `key` {key} do not go together: {error}")
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| format!("`{key}`: {} cannot be read: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if found.is_empty() {
        return Err(format!("`{key}`: {} holds no certificate", path.display()));
    }
    Ok(found)
}

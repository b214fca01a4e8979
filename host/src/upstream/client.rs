//! Connections to other servers: found by name, made within their time, secured by TLS, kept for the next call.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;
use tower_service::Service;

/// A client with a pool of connections of its own; clones share it.
pub(super) type Client = Pooled<Resolver, Full<Bytes>>;

/// The same for other bodies, and other ways to find names.
pub(super) type Pooled<R, B> = HyperClient<Timely<HttpsConnector<HttpConnector<R>>>, B>;

/// How long a connection is kept for the next call. Servers close theirs after 5 s (uvicorn) to minutes; a call on one that
/// was closed meanwhile is made again on another.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);

/// Connections that are kept.
const IDLE_MAX: usize = 64;

/// Names that are looked up at once: each takes a thread of the system's resolver.
const LOOKUPS_MAX: usize = 2;

/// How long what was found is taken for true.
const FOUND_TIME_MAX: Duration = Duration::from_secs(5);

/// A client. `ca` is a PEM file of authorities; where there is none, the system's are used.
///
/// # Errors
///
/// Where the authorities cannot be read.
pub(super) fn client(connect_timeout: Duration, ca: Option<&Path>) -> Result<Client, String> {
    build(Resolver::default(), connect_timeout, ca)
}

/// A client that finds names in its own way.
///
/// # Errors
///
/// Where the authorities cannot be read.
pub(super) fn build<R, B>(
    resolver: R,
    connect_timeout: Duration,
    ca: Option<&Path>,
) -> Result<Pooled<R, B>, String>
where
    Timely<HttpsConnector<HttpConnector<R>>>: Connect + Clone,
    R: Clone,
    B: hyper::body::Body + Send,
    B::Data: Send,
{
    let mut http = HttpConnector::new_with_resolver(resolver);
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(Duration::from_secs(30)));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls(ca)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    let connector = Timely {
        inner: https,
        time_max: connect_timeout,
    };
    let mut builder = HyperClient::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIME_MAX)
        .pool_max_idle_per_host(IDLE_MAX);
    Ok(builder.build(connector))
}

fn tls(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let unreadable =
                |error: &dyn std::fmt::Display| format!("`ca`: {} cannot be read: {error}", path.display());
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| unreadable(&error))?;
                roots.add(certificate).map_err(|error| unreadable(&error))?;
            }
            if roots.is_empty() {
                return Err(format!("`ca`: {} holds no certificate", path.display()));
            }
        }
        // One that cannot be read is left out, as browsers do; a call that needs it says that nobody vouches for the server.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A connector whose connections are made within a time: name, TCP and TLS together.
#[derive(Clone)]
pub(super) struct Timely<C> {
    inner: C,
    time_max: Duration,
}

/// What connectors of all kinds fail with.
type Failure = Box<dyn std::error::Error + Send + Sync>;

impl<C> Service<Uri> for Timely<C>
where
    C: Service<Uri, Error = Failure>,
    C::Future: Send + 'static,
    C::Response: Send,
{
    type Response = C::Response;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connect, time_max) = (self.inner.call(uri), self.time_max);
        Box::pin(async move {
            let connected = tokio::time::timeout(time_max, connect).await;
            connected.unwrap_or_else(|_| {
                let said = format!("none within {time_max:?} (`connect_timeout`)");
                Err(io::Error::new(io::ErrorKind::TimedOut, said).into())
            })
        })
    }
}

/// The system's resolver, a few names at a time; what it found is taken for some seconds.
#[derive(Clone)]
pub(super) struct Resolver {
    places: Arc<Semaphore>,
    found: Arc<Mutex<HashMap<String, Found>>>,
}

/// When the system was asked for a name, and what it said.
type Found = (Instant, Vec<SocketAddr>);

impl Default for Resolver {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            found: Arc::default(),
        }
    }
}

impl Resolver {
    /// What was found lately. There are as many names as the configuration has.
    fn known(&self, name: &str) -> Option<Vec<SocketAddr>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, addresses) = found.get(name)?;
        (at.elapsed() < FOUND_TIME_MAX).then(|| addresses.clone())
    }

    async fn find(self, name: String) -> io::Result<Vec<SocketAddr>> {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        if let Some(known) = self.known(&name) {
            return Ok(known);
        }
        let lookup = move || {
            // Held until the system answers, also where nobody waits for it any more.
            let _place = place;
            let addresses: Vec<SocketAddr> = (name.as_str(), 0).to_socket_addrs()?.collect();
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.insert(name, (Instant::now(), addresses.clone()));
            Ok(addresses)
        };
        tokio::task::spawn_blocking(lookup)
            .await
            .map_err(io::Error::other)?
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = self.clone().find(name.as_str().to_owned());
        Box::pin(async move { Ok(found.await?.into_iter()) })
    }
}

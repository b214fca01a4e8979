//! One connection: HTTP/1.1, or HTTP/2 where the client begins with its preface; closed when idle, slow, or draining.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::CONNECTION;
use http::{HeaderValue, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::handle::{self, Side};
use super::listener::Gate;
use super::proxy;
use super::stream::Stream;
use crate::app::App;
use crate::config::Server;
use crate::edge::Peer;
use crate::shutdown::Shutdown;

/// Bytes of a write that may be no answer: HTTP/2 answers pings and settings of its own accord, and pings itself. Several of these
/// may go out at once and count, which does no harm: who wants to be busy can ask.
const SIGNS_LEN_MAX: usize = 64;

/// Time without a request after which a retiring node closes a connection. A client that has just been answered may be sending its
/// next request.
const RETIRE_QUIET: Duration = Duration::from_secs(1);

/// Requests in flight on one connection, and since when there is none.
struct Activity {
    in_flight: AtomicUsize,
    quiet_since: Mutex<Instant>,
}

/// A request in flight.
struct InFlight(Arc<Activity>);

/// An answer's body; each piece that is taken of it is a sign that its client reads.
struct Answering<B> {
    body: B,
    activity: Arc<Activity>,
}

impl Activity {
    fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// An answer, watched.
    fn answer<B>(self: &Arc<Self>, response: http::Response<B>) -> http::Response<Answering<B>> {
        response.map(|body| Answering {
            body,
            activity: Arc::clone(self),
        })
    }

    /// Something happened: idleness is counted from now.
    fn touch(&self) {
        *self.quiet_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long there has been no request; zero while there is one.
    fn quiet(&self) -> Duration {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        self.quiet_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }
}

/// The connection's stream; an answer that is still being written is not idleness. A long one is written in parts, and other tasks
/// have their turn between them.
struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    /// Bytes written since other tasks had theirs.
    written: usize,
}

/// Bytes of one write: the kernel copies them in some tenths of a millisecond, in which its core does nothing else.
const PART_LEN: usize = 256 << 10;

/// Bytes of an answer that are written before other tasks have their turn: half a millisecond's.
const TURN_LEN: usize = 512 << 10;

impl<S> Watched<S> {
    /// Whether it is another task's turn; this one comes back.
    fn gives_way(&mut self, cx: &Context<'_>) -> bool {
        let gives_way = self.written >= TURN_LEN;
        if gives_way {
            self.written = 0;
            cx.waker().wake_by_ref();
        }
        gives_way
    }

    fn wrote(&mut self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Ok(len)) => {
                self.written += len;
                if len > SIGNS_LEN_MAX {
                    self.activity.touch();
                }
            }
            _ => self.written = 0,
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.gives_way(cx) {
            return Poll::Pending;
        }
        let bytes = &bytes[..bytes.len().min(PART_LEN)];
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [first, ..] = parts
            && first.len() > PART_LEN
        {
            return self.poll_write(cx, first);
        }
        if self.gives_way(cx) {
            return Poll::Pending;
        }
        let mut len = 0;
        let mut fits = |part: &&io::IoSlice<'_>| {
            len += part.len();
            len <= PART_LEN
        };
        let count = parts.iter().take_while(&mut fits).count();
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, &parts[..count]);
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() {
            self.activity.touch();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.touch();
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts what hyper starts: a task for each request of HTTP/2, which ends soon after its connection.
#[derive(Clone)]
struct Tasks(Shutdown);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(async move {
            task.await;
        });
    }
}

/// Serves a connection to its end. Where the client leaves, the futures of its requests are dropped.
pub async fn serve(mut stream: Stream, peer: Peer, gate: Gate, app: Arc<App>) {
    // A client that dawdles over its handshake is as one that dawdles over a head.
    let time_max = app.config().server.header_timeout.0;
    let mut client = peer;
    if !gate.proxies.is_empty() {
        let found = tokio::select! {
            found = proxy::client(&mut stream, peer, &gate.proxies, time_max) => found,
            () = app.shutdown().draining() => return,
        };
        match found {
            Ok(found) => client = found,
            Err(refusal) => return tracing::debug!(%peer, "a connection was closed: {refusal}"),
        }
    }
    let peer = client;
    let Some(tls) = gate.tls else {
        return serve_stream(stream, gate.side, peer, app).await;
    };
    let handshake = tokio::time::timeout(time_max, tls.acceptor().accept(stream));
    let handshake = tokio::select! {
        made = handshake => made,
        () = app.shutdown().draining() => return,
    };
    match handshake {
        Ok(Ok(stream)) => serve_stream(stream, gate.side, peer, app).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a handshake failed"),
        Err(_) => tracing::debug!(%peer, "a handshake took too long"),
    }
}

async fn serve_stream<S>(stream: S, side: Side, peer: Peer, app: Arc<App>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (server, shutdown) = (app.config().server.clone(), app.shutdown().clone());
    let activity = Arc::new(Activity {
        in_flight: AtomicUsize::new(0),
        quiet_since: Mutex::new(Instant::now()),
    });
    let in_service = Arc::clone(&activity);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (app, in_flight) = (Arc::clone(&app), in_service.begin());
        // HTTP/2 has its own way to end a connection, at which no request is lost.
        let is_http1 = request.version() != Version::HTTP_2;
        async move {
            // Boxed, since hyper keeps the room of a request's future as long as the connection lives, and most are idle.
            let response = Box::pin(handle::request(&app, side, peer, request)).await;
            let mut response = in_flight.0.answer(response);
            if is_http1 && app.shutdown().is_retiring() {
                let headers = response.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            drop(in_flight);
            Ok::<_, Infallible>(response)
        }
    });
    let builder = builder(&server, &shutdown);
    let connection = builder.serve_connection(
        TokioIo::new(Watched {
            stream,
            activity: Arc::clone(&activity),
            written: 0,
        }),
        service,
    );
    let mut connection = std::pin::pin!(connection);
    let (mut draining, mut retiring) = (false, false);
    loop {
        let mut idle = server.idle_timeout.0;
        if retiring && !draining {
            idle = idle.min(RETIRE_QUIET);
        }
        let check_in = idle
            .saturating_sub(activity.quiet())
            .max(Duration::from_millis(20));
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, error, "a connection ended early");
                }
                return;
            }
            () = shutdown.retiring(), if !retiring => retiring = true,
            () = shutdown.draining(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shutdown.cut(), if draining => return,
            // A socket that never sends a byte is idle as well, and so is one that stops within HTTP/2's preface.
            () = tokio::time::sleep(check_in) => {
                if activity.quiet() >= server.idle_timeout.0 {
                    return;
                }
                if retiring && !draining && activity.quiet() >= idle {
                    // A stream whose next piece takes its time ends whole.
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Settings of HTTP/1 and HTTP/2 for one connection: limits, time-outs and keep-alive.
fn builder(server: &Server, shutdown: &Shutdown) -> auto::Builder<Tasks> {
    let mut builder = auto::Builder::new(Tasks(shutdown.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(server.header_timeout.0)
        .max_headers(server.headers_max)
        .max_buf_size(server.head_size_max.0);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(server.streams_max)
        .max_header_list_size(u32::try_from(server.head_size_max.0).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, IoSlice};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Instant;

    use tokio::io::AsyncWrite;

    use super::{Activity, PART_LEN, Pin, TURN_LEN, Watched};

    /// A stream into memory, whose writes never wait.
    fn watched() -> Watched<Cursor<Vec<u8>>> {
        let activity = Activity {
            in_flight: AtomicUsize::new(0),
            quiet_since: Mutex::new(Instant::now()),
        };
        Watched {
            stream: Cursor::default(),
            activity: Arc::new(activity),
            written: 0,
        }
    }

    /// Counts how often a task was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Writes a part until it is another task's turn, from which this one must come back: how many bytes those were.
    fn write(watched: &mut Watched<Cursor<Vec<u8>>>, part: &[u8], vectored: bool) -> usize {
        let before = watched.stream.get_ref().len();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut once = || {
            let watched = Pin::new(&mut *watched);
            if vectored {
                watched.poll_write_vectored(&mut context, &[IoSlice::new(part)])
            } else {
                watched.poll_write(&mut context, part)
            }
        };
        while let Poll::Ready(written) = once() {
            assert!((1..=PART_LEN).contains(&written.expect("memory")));
        }
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        watched.stream.get_ref().len() - before
    }

    #[test]
    fn a_long_answer_is_written_in_parts_and_turns() {
        let long = vec![7; 3 * TURN_LEN];
        let mut watched = watched();
        for part in [&long, &long[..PART_LEN / 4]] {
            for vectored in [false, true, true] {
                assert_eq!(write(&mut watched, part, vectored), TURN_LEN);
            }
        }
        // A head before it goes alone; short ones go together.
        let mut context = Context::from_waker(Waker::noop());
        let mut once = |parts: &[&[u8]]| {
            let parts: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            match Pin::new(&mut watched).poll_write_vectored(&mut context, &parts) {
                Poll::Ready(written) => written.expect("memory"),
                Poll::Pending => panic!("it is this one's turn"),
            }
        };
        assert_eq!(once(&[b"head", &long]), 4);
        assert_eq!(once(&[b"head", b"body"]), 8);
    }
}

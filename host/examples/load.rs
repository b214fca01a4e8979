//! A load generator for the benches: so many connections, each sending one text at a time to `/v1/embeddings`.
//!
//! `load ADDRESS TEXTS.json CONNECTIONS SECONDS` prints JSON: requests a second, latencies, errors, CPU seconds of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;

const USAGE: &str = "load ADDRESS TEXTS.json CONNECTIONS SECONDS";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or_else(|| anyhow::anyhow!(USAGE));
    let (address, texts): (SocketAddr, _) = (next()?.parse()?, next()?);
    let (connections, seconds): (usize, u64) = (next()?.parse()?, next()?.parse()?);
    let texts: Vec<String> = serde_json::from_str(&std::fs::read_to_string(texts)?)?;
    let body = |text: &String| {
        let body = json!({ "model": "embed", "input": text, "encoding_format": "base64" });
        Bytes::from(body.to_string())
    };
    let bodies: Arc<Vec<Bytes>> = Arc::new(texts.iter().map(body).collect());
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    executor.block_on(run(address, bodies, connections, Duration::from_secs(seconds)))
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
async fn run(
    address: SocketAddr,
    bodies: Arc<Vec<Bytes>>,
    connections: usize,
    time: Duration,
) -> anyhow::Result<()> {
    let started = Instant::now();
    // The first fifth warms up and is not counted.
    let (counted_from, until) = (started + time / 5, started + time);
    let clients =
        (0..connections).map(|index| client(address, Arc::clone(&bodies), index, counted_from, until));
    let results = futures_util::future::join_all(clients).await;
    let (mut latencies, mut errors) = (Vec::new(), 0);
    for result in results {
        let (times, failed) = result?;
        latencies.extend(times);
        errors += failed;
    }
    latencies.sort_unstable();
    let at = |percent: usize| {
        latencies
            .get(latencies.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let rate = latencies.len() as f64 / (time * 4 / 5).as_secs_f64();
    let report = json!({
        "requests_s": rate,
        "p50_ms": at(50).as_secs_f64() * 1e3,
        "p99_ms": at(99).as_secs_f64() * 1e3,
        "errors": errors,
        "load_cpu_s": cpu_seconds()?,
    });
    println!("{report}");
    Ok(())
}

/// One connection: a request at a time, the texts in turn.
async fn client(
    address: SocketAddr,
    bodies: Arc<Vec<Bytes>>,
    index: usize,
    counted_from: Instant,
    until: Instant,
) -> anyhow::Result<(Vec<Duration>, usize)> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let (mut times, mut errors, mut at) = (Vec::new(), 0, index);
        while Instant::now() < until {
            let body = Full::new(bodies[at % bodies.len()].clone());
            at += 1;
            let request = http::Request::post("/v1/embeddings")
                .header("host", "bench")
                .header("content-type", "application/json")
                .body(body)?;
            let started = Instant::now();
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let status = response.status();
            response.into_body().collect().await?;
            if !status.is_success() {
                errors += 1;
            } else if started >= counted_from {
                times.push(started.elapsed());
            }
        }
        anyhow::Ok((times, errors))
    };
    tokio::select! {
        result = exchange => result,
        ended = connection => anyhow::bail!("the server closed the connection: {ended:?}"),
    }
}

/// User and system time of this process, in seconds; Linux counts them in hundredths.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks: u32 = fields[11].parse::<u32>()? + fields[12].parse::<u32>()?;
    Ok(f64::from(ticks) / 100.0)
}

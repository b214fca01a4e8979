//! A load generator for the benches: so many connections, each with one POST request at a time.
//!
//! `load ADDRESS PATH BODIES.json CONNECTIONS SECONDS` sends the bodies of a JSON array in turn, and prints JSON: requests a second,
//! latencies, errors, CPU seconds of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

const USAGE: &str = "load ADDRESS PATH BODIES.json CONNECTIONS SECONDS";

/// What every connection sends.
struct Requests {
    path: String,
    bodies: Vec<Bytes>,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or_else(|| anyhow::anyhow!(USAGE));
    let (address, path, bodies): (SocketAddr, _, _) = (next()?.parse()?, next()?, next()?);
    let (connections, seconds): (usize, u64) = (next()?.parse()?, next()?.parse()?);
    let bodies: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(bodies)?)?;
    let bodies = bodies.iter().map(|body| Bytes::from(body.to_string())).collect();
    let requests = Arc::new(Requests { path, bodies });
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    executor.block_on(run(address, requests, connections, Duration::from_secs(seconds)))
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
async fn run(
    address: SocketAddr,
    requests: Arc<Requests>,
    connections: usize,
    time: Duration,
) -> anyhow::Result<()> {
    let started = Instant::now();
    // The first fifth warms up and is not counted.
    let (counted_from, until) = (started + time / 5, started + time);
    let clients =
        (0..connections).map(|index| client(address, Arc::clone(&requests), index, counted_from, until));
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

/// One connection: a request at a time, the bodies in turn.
async fn client(
    address: SocketAddr,
    requests: Arc<Requests>,
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
            let body = Full::new(requests.bodies[at % requests.bodies.len()].clone());
            at += 1;
            let request = http::Request::post(requests.path.as_str())
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

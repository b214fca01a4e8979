//! The measuring itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_plugin::cases::{Case, Prepared};
use selvedge_plugin::{
    AttachOptions, Attachment, CallError, Limits, Plugin, Sandbox, SandboxOptions, Spent, Stage, Start,
    Startup,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::{BenchError, Measurement, Options, StageTimes, Times};
use crate::author::stubs::Stubs;
use crate::author::{TestError, cases, name, read};

/// How often a plugin is compiled, at most.
const COLD_ROUNDS: usize = 5;

/// How long compiling goes on; a large plugin is compiled once, whatever that takes.
const COLD_TIME: Duration = Duration::from_secs(10);

/// Times that are kept of one thing: enough for a p99, whatever the time that is given.
const TIMES_MAX: usize = 200_000;

/// Instances that are held at once, to see what memory they take.
const HELD: usize = 64;

/// A case that can be measured.
struct Ready {
    case: Case,
    prepared: Arc<Prepared>,
    attachment: Attachment,
}

/// What is measured with.
struct Rig<'a> {
    options: &'a Options,
    /// An executor of one thread, and one of all.
    one: Runtime,
    all: Runtime,
    threads: usize,
    sandbox: Sandbox,
    /// Where compiled code is kept that is measured as such.
    cache: PathBuf,
}

/// Measures a plugin, and tells what it is at. Blocks, on executors of its own.
///
/// # Errors
///
/// Where the plugin or a case is not as it must be, or no case can be measured.
pub fn measure(options: &Options, mut tell: impl FnMut(&str)) -> Result<Measurement, BenchError> {
    let threads = std::thread::available_parallelism()?.get();
    let room = tempfile::tempdir()?;
    let cache = room.path().join("cache");
    let rig = Rig {
        options,
        one: executor(1)?,
        all: executor(threads)?,
        threads,
        sandbox: open(&cache)?,
        cache,
    };
    let known = cases(&options.cases, &options.only)?;
    tell("compiling");
    let (ready, without) = rig.one.block_on(choose(&rig.sandbox, options, known))?;
    let Some(first) = ready.values().next() else {
        return Err(BenchError::NoCase(options.cases.clone()));
    };
    let cold = rig.cold(&first.case, room.path())?;
    let cached = rig.cached(&first.case)?;
    let configured = rig.configured(&first.case)?;
    let resident_bytes = rig.one.block_on(rig.resident(first))?;
    tell("starting instances");
    let start = times(options.time, || {
        let begun = Instant::now();
        drop(
            rig.one
                .block_on(first.attachment.start(&first.prepared.request))?,
        );
        Ok(begun.elapsed())
    })?;
    let mut stages = BTreeMap::new();
    for (stage, ready) in &ready {
        tell(&format!("calling {}", stage.name()));
        stages.insert(stage.name().to_owned(), rig.stage(*stage, ready)?);
    }
    let plugin = first.attachment.plugin();
    Ok(Measurement {
        plugin: plugin.name.to_string(),
        digest: format!("sha256:{}", plugin.digest_hex()),
        bytes: plugin.bytes.len(),
        processor: processor(),
        threads,
        cold,
        cached,
        configured: Some(configured),
        start,
        startup: match first.attachment.startup() {
            Startup::Snapshot { .. } => "snapshot".to_owned(),
            Startup::Configure { .. } => "configure".to_owned(),
        },
        resident_bytes,
        stages,
        without_case: without.into_iter().map(|stage| stage.name().to_owned()).collect(),
    })
}

impl Rig<'_> {
    /// Compiles the plugin with nothing kept from before.
    fn cold(&self, case: &Case, room: &Path) -> Result<Times, BenchError> {
        let begun = Instant::now();
        let mut took = Vec::new();
        while took.is_empty() || (took.len() < COLD_ROUNDS && begun.elapsed() < COLD_TIME) {
            let sandbox = open(&room.join(format!("cold-{}", took.len())))?;
            let begun = Instant::now();
            self.one.block_on(attach(&sandbox, self.options, case, None))?;
            took.push(begun.elapsed());
        }
        Ok(Times::of(took))
    }

    /// Attaches it out of the cache. In a sandbox of its own each time, since one has at hand what it compiled.
    fn cached(&self, case: &Case) -> Result<Times, BenchError> {
        times(self.options.time, || {
            let sandbox = open(&self.cache)?;
            let begun = Instant::now();
            self.one.block_on(attach(&sandbox, self.options, case, None))?;
            Ok(begun.elapsed())
        })
    }

    /// Attaches it with a configuration that was never seen, while its code is in use. Another time limit is another configuration.
    fn configured(&self, case: &Case) -> Result<Times, BenchError> {
        let sandbox = open(&self.cache)?;
        let _others = sandbox.attach_several();
        let (plugin, mut options) = prepare(&sandbox, self.options, case)?;
        let in_use = self.one.block_on(sandbox.attach(&plugin, options.clone()));
        let refused = |why| BenchError::Attach {
            case: case.name(),
            why,
        };
        let _in_use = in_use.map_err(refused)?;
        times(self.options.time, || {
            options.limits.configure_time += Duration::from_millis(1);
            let begun = Instant::now();
            let attached = self.one.block_on(sandbox.attach(&plugin, options.clone()));
            attached.map_err(refused)?;
            Ok(begun.elapsed())
        })
    }

    fn stage(&self, stage: Stage, ready: &Ready) -> Result<StageTimes, BenchError> {
        let (one, time) = (&self.one, self.options.time);
        let (attachment, prepared) = (&ready.attachment, &ready.prepared);
        let call = times(time, || Ok(one.block_on(prepared.call(attachment, stage))?))?;
        let push = match stage {
            Stage::Stream => Some(self.pushes(ready)?),
            _ => None,
        };
        let spent = Arc::new(Spent::default());
        let watched = attach(&self.sandbox, self.options, &ready.case, Some(Arc::clone(&spent)));
        let watched = one.block_on(watched)?;
        spent.take();
        one.block_on(prepared.call(&watched, stage))?;
        Ok(StageTimes {
            case: ready.case.name(),
            call,
            push,
            per_second: one.block_on(rate(ready, stage, 1, time))?,
            per_second_all: self.all.block_on(rate(ready, stage, self.threads, time))?,
            memory_bytes: spent.take().memory,
        })
    }

    fn pushes(&self, ready: &Ready) -> Result<Times, BenchError> {
        let begun = Instant::now();
        let mut took = Vec::new();
        while took.is_empty() || (begun.elapsed() < self.options.time && took.len() < TIMES_MAX) {
            let stream = ready.prepared.stream(&ready.attachment, |time| took.push(time));
            self.one.block_on(stream)?;
        }
        Ok(Times::of(took))
    }

    /// Bytes that a started instance has for itself alone; none where the system does not tell.
    async fn resident(&self, ready: &Ready) -> Result<Option<u64>, BenchError> {
        // Its memories are new: none has been used before.
        let fresh = open(&self.cache)?;
        let attachment = attach(&fresh, self.options, &ready.case, None).await?;
        let Some(before) = private_bytes() else {
            return Ok(None);
        };
        let mut held = Vec::with_capacity(HELD);
        for _ in 0..HELD {
            held.push(attachment.start(&ready.prepared.request).await?);
        }
        let after = private_bytes();
        drop(held);
        Ok(after.map(|after| after.saturating_sub(before) / HELD as u64))
    }
}

/// For each stage the first case that it gives an answer on; and the stages without one.
async fn choose(
    sandbox: &Sandbox,
    options: &Options,
    cases: Vec<Case>,
) -> Result<(BTreeMap<Stage, Ready>, Vec<Stage>), BenchError> {
    let mut ready: BTreeMap<Stage, Ready> = BTreeMap::new();
    let mut wanted: Vec<Stage> = Vec::new();
    for case in cases {
        let attachment = match attach(sandbox, options, &case, None).await {
            Ok(attachment) => attachment,
            // That a configuration is refused may be what a case is about.
            Err(BenchError::Attach { .. }) => continue,
            Err(error) => return Err(error),
        };
        wanted.clone_from(&attachment.plugin().stages);
        let prepared = Arc::new(case.prepare(attachment.plugin()).await?);
        for stage in &wanted {
            if ready.contains_key(stage) || !prepared.is_for(*stage) {
                continue;
            }
            if prepared.call(&attachment, *stage).await.is_ok() {
                let (case, prepared, attachment) = (case.clone(), Arc::clone(&prepared), attachment.clone());
                ready.insert(
                    *stage,
                    Ready {
                        case,
                        prepared,
                        attachment,
                    },
                );
            }
        }
        if wanted.iter().all(|stage| ready.contains_key(stage)) {
            break;
        }
    }
    wanted.retain(|stage| !ready.contains_key(stage));
    Ok((ready, wanted))
}

/// Instances a second, of so many tasks at once.
async fn rate(ready: &Ready, stage: Stage, tasks: usize, time: Duration) -> Result<f64, CallError> {
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let (attachment, prepared) = (ready.attachment.clone(), Arc::clone(&ready.prepared));
        running.spawn(async move {
            let mut calls = 0_u32;
            while begun.elapsed() < time {
                prepared.call(&attachment, stage).await?;
                calls += 1;
                tokio::task::yield_now().await;
            }
            Ok::<_, CallError>(f64::from(calls))
        });
    }
    let mut calls = 0.0;
    for counted in running.join_all().await {
        calls += counted?;
    }
    Ok(calls / begun.elapsed().as_secs_f64())
}

/// Bytes of this process that it shares with nobody and has written to.
fn private_bytes() -> Option<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = rollup.lines().find(|line| line.starts_with("Private_Dirty:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// Does something again and again, for a time.
fn times(
    time: Duration,
    mut once: impl FnMut() -> Result<Duration, BenchError>,
) -> Result<Times, BenchError> {
    let begun = Instant::now();
    let mut took = Vec::new();
    while took.is_empty() || (begun.elapsed() < time && took.len() < TIMES_MAX) {
        took.push(once()?);
    }
    Ok(Times::of(took))
}

async fn attach(
    sandbox: &Sandbox,
    options: &Options,
    case: &Case,
    spent: Option<Arc<Spent>>,
) -> Result<Attachment, BenchError> {
    let (plugin, attach) = prepare(sandbox, options, case)?;
    let attached = sandbox.attach(&plugin, AttachOptions { spent, ..attach }).await;
    attached.map_err(|why| BenchError::Attach {
        case: case.name(),
        why,
    })
}

/// The plugin, and how it is attached for a case.
fn prepare(
    sandbox: &Sandbox,
    options: &Options,
    case: &Case,
) -> Result<(Arc<Plugin>, AttachOptions), BenchError> {
    let stubs = Stubs::read(&options.cases, case).map_err(TestError::Stubs)?;
    let file = &options.component;
    let plugin = sandbox.read(&name(file), read(file)?, &stubs.grants);
    let plugin: Arc<Plugin> = Arc::new(plugin.map_err(|why| TestError::Plugin {
        file: file.clone(),
        why,
    })?);
    let attach = AttachOptions {
        endpoint: "bench".into(),
        config: case.config()?,
        limits: Limits::default(),
        headers: stubs.headers,
        grants: stubs.grants,
        start: Start::Snapshot,
        reuse: 1,
        spent: None,
        clock: None,
        vocabulary: None,
    };
    Ok((plugin, attach))
}

fn open(cache: &Path) -> Result<Sandbox, BenchError> {
    let sandbox = Sandbox::new(SandboxOptions::new(cache.to_owned()));
    Ok(sandbox.map_err(TestError::Sandbox)?)
}

fn executor(threads: usize) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
}

/// The processor's name.
fn processor() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

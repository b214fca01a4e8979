//! The deeds. Each is as small as it can be; `black_box` keeps the compiler from seeing that nothing comes of it.

use std::cell::Cell;
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use selvedge_sdk::{Failure, failure, logging, metrics, tensors::Tensor};
use serde::Deserialize;

/// What to do when the stage is called. `commit` answers what it found out.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// Nothing.
    #[default]
    None,
    /// Never returns.
    Loop,
    /// Allocates for ever.
    MemoryBomb,
    /// Calls itself for ever.
    StackOverflow,
    /// Fails with a message of 64 MiB.
    HugeResult,
    /// Panics with a message of 10 MB.
    Panic,
    /// Executes `unreachable`.
    Trap,
    /// Answers that it failed.
    Fail,
    /// Sleeps for an hour.
    Sleep,
    /// Writes 64 MiB to its standard output, without a newline.
    PrintFlood,
    /// Logs ten million lines.
    LogFlood,
    /// Logs a line that forges another.
    LogForge,
    /// Makes tensors and never drops one.
    HandleLeak,
    /// Makes the host hold tensors of 4 MiB each.
    HostMemory,
    /// Prints a line, by which the C library keeps a handle of the host.
    Print,
    /// Makes a tensor and keeps it.
    KeepHandle,
    /// Draws randomness, once, and answers it from then on.
    Random,
    /// Counts its calls in a static.
    Remember,
    /// Looks for the environment, a file and a socket.
    LookAround,
    /// Looks for what an instance before it left in memory, and leaves something there.
    Dig,
    /// Panics with a message of 100 MB.
    PanicHuge,
    /// Records 20,000 metrics, each of another name.
    MetricFlood,
    /// Fails with a message that forges a line of the log.
    FailForge,
    /// Tells how fine its clocks are: the least step that it sees, in nanoseconds.
    Clock,
    /// Prints how often it was called by now, and no newline.
    Mutter,
}

struct Static<T>(Cell<T>);

// SAFETY: a WebAssembly instance has one thread.
unsafe impl<T> Sync for Static<T> {}

static CALLS: Static<u32> = Static(Cell::new(0));
static DRAWN: Static<Option<u64>> = Static(Cell::new(None));
static KEPT: Static<Option<Tensor>> = Static(Cell::new(None));

impl Deed {
    /// Does it.
    pub fn commit(self) -> Result<String, Failure> {
        match self {
            Deed::None => Ok(String::new()),
            Deed::Loop => forever(),
            Deed::MemoryBomb => memory_bomb(),
            Deed::StackOverflow => Ok(descend(black_box(0)).to_string()),
            Deed::HugeResult => Err(failure("huge", "x".repeat(64 << 20))),
            Deed::Panic => panic!("{}", "x".repeat(10_000_000)),
            Deed::Trap => std::process::abort(),
            Deed::Fail => Err(failure("did-not-want-to", "it did not want to")),
            Deed::Sleep => sleep(),
            Deed::PrintFlood => print_flood(),
            Deed::LogFlood => log_flood(),
            Deed::LogForge => log_forge(),
            Deed::HandleLeak => handle_leak(),
            Deed::HostMemory => host_memory(),
            Deed::Print => print_line(),
            Deed::KeepHandle => keep_handle(),
            Deed::Random => Ok(random().to_string()),
            Deed::Remember => Ok(remember().to_string()),
            Deed::LookAround => Ok(look_around()),
            Deed::Dig => Ok(dig()),
            Deed::PanicHuge => panic!("{}", "x".repeat(100_000_000)),
            Deed::MetricFlood => Ok(metric_flood()),
            Deed::FailForge => Err(failure("forged\n", FORGED)),
            Deed::Clock => Ok(clock()),
            Deed::Mutter => mutter(),
        }
    }
}

fn forever() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn memory_bomb() -> ! {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(black_box(vec![1; 1 << 20]));
    }
}

#[expect(unconditional_recursion, reason = "that is the deed")]
fn descend(depth: u64) -> u64 {
    descend(black_box(depth + 1)) + black_box(1)
}

fn sleep() -> Result<String, Failure> {
    std::thread::sleep(Duration::from_secs(3600));
    Ok("slept".to_owned())
}

fn print_flood() -> Result<String, Failure> {
    let block = "x".repeat(1 << 16);
    for _ in 0..1024 {
        print!("{block}");
    }
    Ok("printed".to_owned())
}

fn log_flood() -> Result<String, Failure> {
    for line in 0..10_000_000_u64 {
        logging::log(
            logging::Level::Info,
            "flood",
            &[("line".to_owned(), line.to_string())],
        );
    }
    Ok("logged".to_owned())
}

/// What looks like a line of the node's.
const FORGED: &str = "innocent\n2026-01-01T00:00:00Z ERROR the node is on fire \u{1b}[31m";

fn log_forge() -> Result<String, Failure> {
    logging::log(logging::Level::Info, FORGED, &[]);
    Ok("logged".to_owned())
}

fn handle_leak() -> Result<String, Failure> {
    for made in 0_u32..1_000_000 {
        match Tensor::from_f32(&[1], &[1.0]) {
            Ok(tensor) => std::mem::forget(tensor),
            Err(_) => return Ok(format!("refused after {made}")),
        }
    }
    Ok("made a million".to_owned())
}

fn host_memory() -> Result<String, Failure> {
    let values = vec![1.0; 1 << 20];
    for _ in 0..1000 {
        if let Ok(tensor) = Tensor::from_f32(&[1 << 20], &values) {
            std::mem::forget(tensor);
        }
    }
    Ok("held 4 GB".to_owned())
}

fn print_line() -> Result<String, Failure> {
    println!("a line on standard output");
    Ok("printed".to_owned())
}

fn mutter() -> Result<String, Failure> {
    print!("call {}", remember());
    match std::io::stdout().flush() {
        Ok(()) => Ok("muttered".to_owned()),
        Err(error) => Err(failure("not-printed", error.to_string())),
    }
}

fn keep_handle() -> Result<String, Failure> {
    let tensor =
        Tensor::from_f32(&[1], &[1.0]).map_err(|error| failure("no-tensor", format!("{error:?}")))?;
    KEPT.0.set(Some(tensor));
    Ok("kept".to_owned())
}

fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let drawn = DRAWN.0.get().unwrap_or_else(|| RandomState::new().hash_one(7));
    DRAWN.0.set(Some(drawn));
    drawn
}

fn remember() -> u32 {
    CALLS.0.set(CALLS.0.get() + 1);
    CALLS.0.get()
}

fn look_around() -> String {
    let environment = std::env::vars().count();
    let arguments = std::env::args().count();
    let file = std::fs::read("/etc/passwd").is_ok();
    let folder = std::fs::read_dir("/").is_ok();
    format!("environment {environment} arguments {arguments} file {file} folder {folder}")
}

/// Bytes that are dug through, and what is left in them.
const GROUND_LEN: usize = 8 << 20;
const BURIED: u8 = 0xa5;

fn dig() -> String {
    let layout = std::alloc::Layout::array::<u8>(GROUND_LEN).expect("it is short");
    // SAFETY: the layout is not empty; the bytes are read as the memory has them, which WebAssembly defines.
    let ground = unsafe { std::slice::from_raw_parts_mut(std::alloc::alloc(layout), GROUND_LEN) };
    let found = ground.iter().filter(|byte| **black_box(byte) == BURIED).count();
    ground.fill(BURIED);
    black_box(ground);
    format!("found {found}")
}

fn metric_flood() -> String {
    for value in [f64::NAN, f64::INFINITY, f64::MAX] {
        metrics::histogram_record("declared", value);
    }
    for number in 0..20_000 {
        metrics::counter_add(&format!("name_{number}"), 1);
        metrics::histogram_record("declared", f64::from(number));
    }
    "recorded".to_owned()
}

fn clock() -> String {
    let step = |now: &dyn Fn() -> Duration| {
        let start = now();
        loop {
            let later = now();
            if later > start {
                break (later - start).as_nanos();
            }
        }
    };
    let began = Instant::now();
    let monotonic = step(&|| began.elapsed());
    let wall = step(&|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    format!("monotonic {monotonic} wall {wall}")
}

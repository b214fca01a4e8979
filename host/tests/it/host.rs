//! A host process: started on a free port with a configuration, told to end when it is dropped.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::process::Signal;

use crate::client::Client;
use crate::generate::eventually;
use crate::heavy::{Permit, heavy_for};
use crate::node::{ASSISTANT, CLASSIFY, EMBED, NodeConfig};

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the project")
}

/// The binary under test.
pub(crate) fn selvedge() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    let end_with_us = || {
        Ok(rustix::process::set_parent_process_death_signal(Some(
            Signal::KILL,
        ))?)
    };
    // SAFETY: between fork and exec it makes one system call and nothing else.
    unsafe { command.pre_exec(end_with_us) };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Commands without a configuration keep what they compile there.
        .env_remove("STATE_DIRECTORY")
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env_remove("RUST_LOG");
    command
}

/// A running host.
pub(crate) struct TestHost {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
    file: PathBuf,
    _dir: tempfile::TempDir,
    _permit: Option<Arc<Permit>>,
}

/// The demo, for tests that change nothing: they share it.
pub(crate) fn demo() -> &'static TestHost {
    static DEMO: OnceLock<TestHost> = OnceLock::new();
    DEMO.get_or_init(|| kept(&NodeConfig::of(&[ASSISTANT, CLASSIFY, EMBED])))
}

/// The demo's `classify` alone, for tests that change nothing and ask for no more: it starts at once.
pub(crate) fn classifier() -> &'static TestHost {
    static CLASSIFIER: OnceLock<TestHost> = OnceLock::new();
    CLASSIFIER.get_or_init(|| kept(&NodeConfig::of(&[CLASSIFY])))
}

/// The demo's two larger endpoints, and `vectors` without plugins, for one test at a time, until it drops the guard: on some
/// processors what a text or a vector is depends on those that are made beside it.
pub(crate) fn alone() -> (MutexGuard<'static, ()>, &'static TestHost) {
    static ONE: Mutex<()> = Mutex::new(());
    static NODE: OnceLock<TestHost> = OnceLock::new();
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let config = || NodeConfig::of(&[ASSISTANT, EMBED]).with("endpoints.vectors.model = \"minilm\"");
    let node = NODE.get_or_init(|| kept(&config()));
    (guard, node)
}

/// A host that lives as long as the process.
pub(crate) fn kept(config: &NodeConfig) -> TestHost {
    let config = config.text();
    // A static is never dropped: the host ends with the thread that started it, which lives as long as the process.
    let (sender, receiver) = std::sync::mpsc::channel();
    let keep = move || {
        // It holds no permit: tests that have one wait for it.
        sender
            .send(TestHost::launch(&[], &config, None))
            .expect("somebody waits");
        loop {
            std::thread::park();
        }
    };
    std::thread::Builder::new()
        .name("host".to_owned())
        .spawn(keep)
        .expect("a thread");
    receiver.recv().expect("the host starts")
}

impl TestHost {
    /// Starts a host and waits until it serves.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_within(&[], config)
    }

    /// The same under limits of the system's.
    pub(crate) fn start_within(limits: &[(rustix::process::Resource, u64)], config: &str) -> Self {
        Self::launch(limits, config, heavy_for(config))
    }

    fn launch(
        limits: &[(rustix::process::Resource, u64)],
        config: &str,
        permit: Option<Arc<Permit>>,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("node.toml");
        std::fs::write(&file, config).expect("written");
        let mut command = selvedge();
        let limits = limits.to_vec();
        let limit = move || {
            for (resource, max) in &limits {
                let limit = rustix::process::Rlimit {
                    current: Some(*max),
                    maximum: Some(*max),
                };
                rustix::process::setrlimit(*resource, limit)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec it makes system calls and nothing else.
        unsafe { command.pre_exec(limit) };
        let mut child = command
            .args(["serve", "--config"])
            .arg(&file)
            .spawn()
            .expect("the host starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let mut seen = String::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("the host ended:\n{seen}")
            };
            seen = format!("{seen}{line}\n");
            let said = line
                .split_once("listening on ")
                .and_then(|(_, url)| url.split_once("://"));
            if let Some((_, address)) = said {
                break address.trim().parse().expect("an address");
            }
        };
        *log.lock().expect("no panic") = seen;
        let rest = Arc::clone(&log);
        // A full pipe would stop the host; what it logs is kept for the test that asks.
        let reader = std::thread::Builder::new().name("log".to_owned());
        let reader = reader
            .spawn(move || {
                for line in lines.map_while(Result::ok) {
                    rest.lock().expect("no panic").push_str(&format!("{line}\n"));
                }
            })
            .expect("a thread");
        Self {
            child,
            address,
            log,
            reader: Some(reader),
            file,
            _dir: dir,
            _permit: permit,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// A client of its operators' listener, which comes up soon behind the public one.
    pub(crate) fn operators(&self, scheme: &str) -> Client {
        let told = format!("operators' listener on {scheme}://");
        eventually("the operators' listener", || self.log().contains(&told));
        let log = self.log();
        let (_, rest) = log.split_once(&told).expect("it is told");
        let address = rest.lines().next().unwrap_or_default().trim().parse();
        Client::new(address.expect("an address"))
    }

    /// The file of its configuration.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).expect("signalled");
    }

    /// Bytes of its memory that are resident.
    pub(crate) fn resident(&self) -> usize {
        let told = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).expect("it runs");
        let pages: usize = told
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .expect("a number");
        pages * rustix::param::page_size()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    /// What it logged until its end, which must have been asked for.
    pub(crate) fn log_to_the_end(mut self) -> String {
        self.child.wait().expect("it ends");
        let reader = self.reader.take().expect("taken once");
        reader.join().expect("no panic");
        self.log()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs the binary to its end: exit code, standard output, standard error.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut child = selvedge().args(arguments).spawn().expect("it starts");
    let mut error = String::new();
    let mut pipe = child.stderr.take().expect("piped");
    let reader = std::thread::Builder::new().spawn(move || {
        pipe.read_to_string(&mut error).expect("text");
        error
    });
    let mut output = String::new();
    child
        .stdout
        .take()
        .expect("piped")
        .read_to_string(&mut output)
        .expect("text");
    let code = child.wait().expect("it ends").code().unwrap_or(-1);
    (code, output, reader.expect("a thread").join().expect("no panic"))
}

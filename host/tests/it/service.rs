//! A node as a service of systemd: what it is told, the sockets that it passes, its credentials.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal};

use crate::client::{Client, head, read};
use crate::generate::eventually;
use crate::host::selvedge;
use crate::sockets::config;

/// A node that is started as systemd does it, and those that take over from it.
pub(crate) struct Service {
    child: Child,
    log: Arc<Mutex<String>>,
    notify: UnixDatagram,
    dir: tempfile::TempDir,
}

impl Service {
    /// Starts it with sockets, each by its name, and with these variables.
    pub(crate) fn start(config: &str, sockets: Vec<(&str, OwnedFd)>, variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("node.toml"), config).expect("written");
        let notify = UnixDatagram::bind(dir.path().join("notify")).expect("bound");
        notify
            .set_read_timeout(Some(Duration::from_secs(120)))
            .expect("set");
        let mut command = selvedge();
        command
            .args(["serve", "--config"])
            .arg(dir.path().join("node.toml"))
            .env("NOTIFY_SOCKET", dir.path().join("notify"))
            .envs(variables.iter().copied())
            // All that it starts ends with the test.
            .process_group(0);
        if !sockets.is_empty() {
            let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
            command
                .env("LISTEN_FDS", sockets.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"));
            let mappings = sockets.into_iter().zip(3..);
            let mappings = mappings.map(|((_, parent_fd), child_fd)| FdMapping { parent_fd, child_fd });
            command.fd_mappings(mappings.collect()).expect("no number twice");
        }
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        let keep = move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().expect("no panic").push_str(&format!("{line}\n"));
            }
        };
        std::thread::Builder::new().spawn(keep).expect("a thread");
        Self {
            child,
            log,
            notify,
            dir,
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("node.toml")
    }

    /// The next message with this line, whole.
    pub(crate) fn told(&self, line: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            let len = self.notify.recv(&mut bytes);
            let len = len.unwrap_or_else(|error| panic!("`{line}` was not told, {error}: {}", self.log()));
            let message = String::from_utf8_lossy(&bytes[..len]).into_owned();
            if message.lines().any(|told| told.starts_with(line)) {
                return message;
            }
        }
    }

    /// Has the configuration read by what `begin` does, and does something else while whoever reads it waits.
    pub(crate) fn while_read(&self, begin: impl FnOnce(), meanwhile: impl FnOnce()) {
        let text = std::fs::read(self.file()).expect("its configuration");
        let copy = self.dir.path().join("node.toml.new");
        std::fs::write(&copy, &text).expect("written");
        std::fs::remove_file(self.file()).expect("removed");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, self.file(), mode).expect("a pipe");
        begin();
        // Opened once somebody reads, who waits for what is written.
        let pipe = std::fs::File::options().write(true).open(self.file());
        let mut pipe = pipe.expect("opened");
        meanwhile();
        std::fs::rename(&copy, self.file()).expect("as before");
        pipe.write_all(&text).expect("written");
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // All of them may have ended already.
        rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
        self.child.wait().ok();
    }
}

/// Sends a signal to a process that a test started.
pub(crate) fn signal(id: u32, signal: Signal) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw).expect("an id");
    rustix::process::kill_process(id, signal).expect("signalled");
}

/// A socket that listens, and its address.
pub(crate) fn listening() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    (listener.into(), address)
}

const ASK: &str = r#"{"text":"a prize"}"#;

#[test]
fn systemd_hears_that_a_node_serves_and_lives_and_reloads_and_ends() {
    let config = config("listen = \"127.0.0.1:0\"", "");
    let mut node = Service::start(&config, Vec::new(), &[("WATCHDOG_USEC", "100000")]);
    let starting = node.told("STATUS=starting");
    assert!(!starting.contains("READY=1"), "{starting}");
    let ready = node.told("READY=1");
    assert!(ready.contains("STATUS=serving 1 endpoints"), "{ready}");
    for _ in 0..3 {
        assert_eq!(node.told("WATCHDOG=1"), "WATCHDOG=1\n");
    }
    signal(node.id(), Signal::HUP);
    let reloading = node.told("RELOADING=1");
    let since = reloading
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(
        since.is_some_and(|since| since.parse::<u64>().is_ok()),
        "{reloading}"
    );
    assert!(node.told("READY=1").contains("was read again"));
    std::fs::write(node.file(), "[server]\nlisten = 7\n").expect("written");
    signal(node.id(), Signal::HUP);
    node.told("RELOADING=1");
    assert!(node.told("READY=1").contains("refused"), "it serves on as before");
    signal(node.id(), Signal::TERM);
    node.told("STOPPING=1");
    assert!(node.wait().success());
}

#[test]
fn a_reload_that_is_asked_for_during_the_start_or_another_reload_is_done_afterwards() {
    let config = config("listen = \"127.0.0.1:0\"", "");
    let mut node = Service::start(&config, Vec::new(), &[]);
    let id = node.id();
    node.told("STATUS=starting");
    signal(id, Signal::HUP);
    assert!(node.told("READY=1").contains("STATUS=serving 1 endpoints"));
    node.told("RELOADING=1");
    assert!(node.told("READY=1").contains("was read again"));
    node.while_read(|| signal(id, Signal::HUP), || signal(id, Signal::HUP));
    for _ in 0..2 {
        node.told("RELOADING=1");
        assert!(node.told("READY=1").contains("was read again"));
    }
    signal(id, Signal::TERM);
    assert!(node.wait().success());
}

#[test]
fn a_node_takes_the_sockets_that_it_is_passed_and_whoever_connected_before_is_served() {
    let (socket, address) = listening();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let admin: OwnedFd = UnixListener::bind(&path).expect("bound").into();
    // The address of the file is nobody's, and is not listened on.
    let config = config(
        "listen = \"127.0.0.1:1\"",
        &format!("[admin]\nlisten = \"unix:{}\"\n", path.display()),
    );
    let mut early = TcpStream::connect(address).expect("the kernel takes it");
    let request = head(
        "POST",
        "/classify",
        &[("content-type", "application/json")],
        ASK.len(),
    );
    early
        .write_all(&[&request, ASK.as_bytes()].concat())
        .expect("sent");
    // One by its name, one by its address.
    let sockets = vec![("http", socket), ("selvedge-admin.socket", admin)];
    let mut node = Service::start(&config, sockets, &[]);
    assert_eq!(read(&mut early).status, 200, "it waits until the node serves");
    node.told("READY=1");
    eventually("what is not listened on", || {
        node.log().contains("does not listen on 127.0.0.1:1")
    });
    let mut operator = UnixStream::connect(&path).expect("it listens");
    operator
        .write_all(&head("GET", "/metrics", &[], 0))
        .expect("sent");
    let mut answer = String::new();
    operator.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(Client::new(address).post("/classify", ASK).status, 200);
    signal(node.id(), Signal::TERM);
    assert!(node.wait().success());
    assert!(path.exists(), "whoever made the socket's file removes it");
}

/// Log of a node that is passed a socket by this name and refuses to start.
fn refusal(config: &str, name: &str, socket: OwnedFd) -> String {
    let mut node = Service::start(config, vec![(name, socket)], &[]);
    assert_eq!(node.wait().code(), Some(3), "{}", node.log());
    eventually("its last words", || node.log().contains("error: "));
    node.log()
}

#[test]
fn a_socket_that_is_nobodys_or_opens_the_node_to_all_is_refused_by_name() {
    let config = config("listen = \"127.0.0.1:0\"", "");
    let (socket, address) = listening();
    let refused = refusal(&config, "selvedge.socket", socket);
    assert!(
        refused.contains(&address.to_string()) && refused.contains("FileDescriptorName="),
        "{refused}"
    );
    let refused = refusal(&config, "admin", listening().0);
    assert!(refused.contains("there is no [admin]"), "{refused}");
    let far = TcpListener::bind("0.0.0.0:0").expect("a port");
    let refused = refusal(&config, "http", far.into());
    assert!(refused.contains("nobody has to say who they are"), "{refused}");
    let datagrams = UnixDatagram::unbound().expect("a socket");
    let refused = refusal(&config, "http", datagrams.into());
    assert!(refused.contains("descriptor 3, `http`"), "{refused}");
}

#[test]
fn secrets_and_keys_are_read_from_the_folder_of_credentials() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("api_key"), "s3cret\n").expect("written");
    let file = folder.path().join("node.toml");
    let check = |name: &str, folder: Option<&Path>| {
        let text = format!(
            "[telemetry]\notlp = \"http://127.0.0.1:1\"\nheaders = {{ authorization = \"${{credential:{name}}}\" }}\n"
        );
        std::fs::write(&file, text).expect("written");
        let mut command = selvedge();
        command.args(["openapi", "--config"]).arg(&file);
        command.env_remove("CREDENTIALS_DIRECTORY");
        command.envs(folder.map(|folder| ("CREDENTIALS_DIRECTORY", folder)));
        let output = command.output().expect("it runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, error) = check("api_key", Some(folder.path()));
    assert_eq!(code, Some(0), "{error}");
    let (code, error) = check("other", Some(folder.path()));
    assert!(code == Some(3) && error.contains("cannot be read"), "{error}");
    let (code, error) = check("api_key", None);
    assert!(code == Some(3) && error.contains("LoadCredential="), "{error}");
}

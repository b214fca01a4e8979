//! Files of sockets: made with their permissions, put in the place of one that nobody listens on, and removed at the end.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use super::listener::BACKLOG;
use crate::config::UnixSocket;

/// Longest time that somebody else may hold the folder. Another start holds it for milliseconds; anybody who may read the folder
/// can hold it for ever.
const LOCK_TIME_MAX: Duration = Duration::from_secs(5);

/// Time between two tries to hold the folder.
const LOCK_TRY_EVERY: Duration = Duration::from_millis(20);

/// A socket file that ends with this process: it is removed when this is dropped, or before.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: another process may put its own in the place.
    id: (u64, u64),
    /// False once the file is removed, or left to another process. The inode's number may be another file's from then on.
    is_ours: AtomicBool,
}

impl SocketFile {
    /// Binds a socket to a path and listens. Nobody can connect before the file has its permissions. Blocks for up to 5 s if
    /// another process holds the folder.
    ///
    /// # Errors
    ///
    /// If another process listens on the path or holds the folder, something other than a socket lies there, or the folder or group
    /// cannot be used.
    pub(super) fn bind(path: &Path, settings: &UnixSocket) -> io::Result<(UnixListener, Self)> {
        // Of two processes that find the same file stale, one waits here, and finds that of the other.
        let _lock = lock(path.parent().unwrap_or(Path::new("/")), LOCK_TIME_MAX)?;
        clear(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // From here on the file itself is changed, not what lies at its path: that may be a link by now.
        let file = open(path)?;
        let made = Self::new(path, &file.metadata()?);
        permit(&file, settings)?;
        socket.listen(BACKLOG)?;
        Ok((socket.into(), made))
    }

    /// Takes over the file of a socket that another process made and left to this one. None if no socket lies there.
    pub(super) fn adopt(path: &Path) -> Option<Self> {
        let file = open(path).ok()?;
        Some(Self::new(path, &file.metadata().ok()?))
    }

    fn new(path: &Path, file: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            id: id(file),
            is_ours: AtomicBool::new(true),
        }
    }

    /// Removes the file, if it is still this one. Does nothing if it was removed or left before.
    pub(super) fn remove(&self) {
        if !self.is_ours.swap(false, Ordering::Relaxed) {
            return;
        }
        let is_same = self
            .path
            .symlink_metadata()
            .is_ok_and(|file| id(&file) == self.id);
        if is_same && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket's file stays");
        }
    }

    /// Leaves the file to another process.
    pub(super) fn leave(&self) {
        self.is_ours.store(false, Ordering::Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Holds a folder until the handle is dropped.
///
/// # Errors
///
/// If another process holds it for longer, or it cannot be opened.
fn lock(folder: &Path, within: Duration) -> io::Result<File> {
    let shown = folder.display();
    let file =
        File::open(folder).map_err(|error| named(&error, &format!("its folder {shown} cannot be opened")))?;
    let until = Instant::now() + within;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if Instant::now() < until => {}
            Err(Errno::WOULDBLOCK) => {
                let why = format!(
                    "another process holds a lock on its folder {shown} (`lslocks` names it); end that one, or choose a folder that \
                     only the node may read"
                );
                return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
            }
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(LOCK_TRY_EVERY);
    }
}

/// Opens a socket's file itself, for what can be asked and changed of it.
///
/// # Errors
///
/// If a link lies there, or a file that has another name too.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    if found.file_type().is_socket() && found.nlink() == 1 {
        return Ok(file);
    }
    Err(io::Error::other(
        "another process has put something else in its place",
    ))
}

fn id(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn named(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Removes a socket that nobody listens on; anything else stays.
fn clear(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            let why = "something else than a socket lies there; remove it, or choose another path";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        Ok(_) => {}
    }
    // A queue that is full must not hold up the start.
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(named(
            &error,
            "it cannot be seen whether another process listens on it",
        )),
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens on it; end that one, or choose another path",
        )),
    }
}

/// Gives an open file its group and mode.
fn permit(file: &File, settings: &UnixSocket) -> io::Result<()> {
    // Linux has no call for the mode of a file that is opened in this way, but the handle has a path of its own, which leads to
    // nothing else.
    let handle = format!("/proc/self/fd/{}", file.as_raw_fd());
    if let Some(group) = &settings.group {
        let number = group_number(group)?;
        let given = std::os::unix::fs::chown(&handle, None, Some(number));
        let what = format!("it cannot be given to the group `{group}`, which the process must be in");
        given.map_err(|error| named(&error, &what))?;
    }
    let set = std::fs::set_permissions(&handle, Permissions::from_mode(settings.mode.0));
    set.map_err(|error| named(&error, "its mode cannot be set"))
}

/// A group's number, by its name or as it is.
fn group_number(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let found = nix::unistd::Group::from_name(group).map_err(io::Error::from)?;
    let missing = || {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no group `{group}` (`unix_socket.group`)"),
        )
    };
    Ok(found.ok_or_else(missing)?.gid.as_raw())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Duration;

    use rustix::fs::{FlockOperation, flock};

    use super::{SocketFile, lock, open};
    use crate::config::{Mode, UnixSocket};

    #[test]
    fn a_stale_socket_is_replaced_and_what_others_use_or_wrote_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("node.sock");
        let settings = UnixSocket {
            mode: Mode(0o600),
            group: None,
        };
        drop(UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "a process that ends leaves its file");
        let (listener, made) = SocketFile::bind(&path, &settings).expect("the stale one is replaced");
        let mode = path.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        UnixStream::connect(&path).expect("it listens");
        let refused = SocketFile::bind(&path, &settings)
            .expect_err("somebody listens")
            .to_string();
        assert!(refused.contains("another process listens"), "{refused}");
        drop(listener);
        made.remove();
        assert!(!path.exists());
        std::fs::write(&path, "a letter").expect("written");
        let refused = SocketFile::bind(&path, &settings)
            .expect_err("a file")
            .to_string();
        assert!(refused.contains("something else than a socket"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "a letter");
    }

    #[test]
    fn a_group_that_there_is_not_is_named_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("node.sock");
        let settings = UnixSocket {
            group: Some("no-such-group".to_owned()),
            ..UnixSocket::default()
        };
        let refused = SocketFile::bind(&path, &settings)
            .expect_err("refused")
            .to_string();
        assert!(refused.contains("no group `no-such-group`"), "{refused}");
        assert!(!path.exists());
    }

    #[test]
    fn a_file_has_the_group_that_is_named_and_goes_when_it_is_dropped_unless_it_is_left() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("node.sock");
        let own = rustix::process::getgid().as_raw();
        let found = nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(own)).expect("groups are known");
        // In some containers the group has no name.
        let name = found.map_or_else(|| own.to_string(), |group| group.name);
        let settings = UnixSocket {
            mode: Mode(0o620),
            group: Some(name),
        };
        let (listener, made) = SocketFile::bind(&path, &settings).expect("bound");
        let file = path.metadata().expect("there");
        assert_eq!((file.gid(), file.mode() & 0o777), (own, 0o620));
        made.leave();
        drop(made);
        assert!(path.exists(), "another process has it");
        let adopted = SocketFile::adopt(&path).expect("a socket");
        drop(adopted);
        assert!(!path.exists());
        drop(listener);
    }

    #[test]
    fn a_folder_that_somebody_holds_is_named_and_not_waited_for_without_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let holder = File::open(dir.path()).expect("a folder");
        flock(&holder, FlockOperation::LockExclusive).expect("nobody else has it");
        let refused = lock(dir.path(), Duration::ZERO)
            .expect_err("it is held")
            .to_string();
        assert!(refused.contains(&dir.path().display().to_string()), "{refused}");
        drop(holder);
        lock(dir.path(), Duration::ZERO).expect("it is free");
    }

    #[test]
    fn a_link_or_a_second_name_in_the_place_of_the_file_is_not_opened() {
        let dir = tempfile::tempdir().expect("a folder");
        let [path, link, name] = ["node.sock", "link.sock", "name.sock"].map(|name| dir.path().join(name));
        let _listener = UnixListener::bind(&path).expect("bound");
        symlink(&path, &link).expect("a link");
        let refused = open(&link).expect_err("a link").to_string();
        assert!(refused.contains("something else in its place"), "{refused}");
        open(&path).expect("the file itself");
        std::fs::hard_link(&path, &name).expect("a second name");
        open(&path).expect_err("it has two names");
        assert!(SocketFile::adopt(&link).is_none());
    }
}

//! Files of sockets: made with their permissions, put in the place of one that nobody listens on, and removed at the end.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};

use super::listener::BACKLOG;
use crate::config::UnixSocket;

/// A socket file that this process made.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: another process may put its own in the place.
    id: (u64, u64),
}

impl SocketFile {
    /// Binds a socket to a path and listens. Nobody can connect before the file has its permissions.
    ///
    /// # Errors
    ///
    /// If another process listens on the path, something other than a socket lies there, or the folder or group cannot be used.
    pub(super) fn bind(path: &Path, settings: &UnixSocket) -> io::Result<(UnixListener, Self)> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let folder = File::open(folder).map_err(|error| named(&error, "its folder cannot be opened"))?;
        // Of two processes that find the same file stale, one waits here, and finds that of the other.
        flock(&folder, FlockOperation::LockExclusive)?;
        clear(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let made = Self {
            path: path.to_owned(),
            id: id(&path.symlink_metadata()?),
        };
        if let Err(error) = permit(path, settings).and_then(|()| socket.listen(BACKLOG)) {
            made.remove();
            return Err(error);
        }
        Ok((socket.into(), made))
    }

    /// Removes the file, where it is still this one.
    pub(super) fn remove(&self) {
        let ours = self
            .path
            .symlink_metadata()
            .is_ok_and(|file| id(&file) == self.id);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket's file stays");
        }
    }
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

fn permit(path: &Path, settings: &UnixSocket) -> io::Result<()> {
    if let Some(group) = &settings.group {
        let number = group_number(group)?;
        std::os::unix::fs::chown(path, None, Some(number))
            .map_err(|error| named(&error, &format!("it cannot be given to the group `{group}`")))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(settings.mode.0))
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
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::SocketFile;
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
}

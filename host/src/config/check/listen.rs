//! Checks of where the listeners listen.

use super::Findings;
use crate::config::read::Sections;
use crate::config::{Addresses, UnixSocket};

/// Bytes of a socket file's path at most: the kernel has room for no more, with a zero behind it.
const PATH_LEN_MAX: usize = 107;

pub(super) fn check(sections: &Sections, found: &mut Findings<'_>) {
    let server = &sections.server;
    if server.listen.0.is_empty() {
        found.add(
            "server.listen",
            "give at least one address, such as \"127.0.0.1:8080\"",
        );
    }
    check_files("server", &server.listen, server.unix_socket.as_ref(), found);
    if let Some(admin) = &sections.admin {
        check_files("admin", &admin.listen, admin.unix_socket.as_ref(), found);
    }
}

fn check_files(section: &str, listen: &Addresses, settings: Option<&UnixSocket>, found: &mut Findings<'_>) {
    let paths = || listen.0.iter().filter_map(|address| address.path());
    for path in paths() {
        let key = format!("{section}.listen");
        let shown = path.display();
        if !path.is_absolute() {
            found.add(
                key,
                format!("the path of a socket file is absolute, and `{shown}` is not"),
            );
        } else if path.as_os_str().len() > PATH_LEN_MAX {
            found.add(
                key,
                format!("the path of a socket file has at most {PATH_LEN_MAX} bytes, and `{shown}` has more"),
            );
        }
    }
    if settings.is_some() && paths().next().is_none() {
        found.add(
            format!("{section}.unix_socket"),
            format!(
                "is for socket files, and `{section}.listen` names none: add \"unix:/PATH\" or leave it out"
            ),
        );
    }
}

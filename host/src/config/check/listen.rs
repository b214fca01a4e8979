//! Checks of where the listeners listen.

use super::Findings;
use crate::config::read::Sections;
use crate::config::{Address, Addresses, UnixSocket};

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
    check_repeated(sections, found);
}

/// Reports an address that stands twice, on one side or on both. The second of two could not be bound; of ports 0 each is another.
fn check_repeated(sections: &Sections, found: &mut Findings<'_>) {
    let server = sections.server.listen.0.iter();
    let admin = sections.admin.iter().flat_map(|admin| &admin.listen.0);
    let named = server.map(|address| ("server.listen", address));
    let named = named.chain(admin.map(|address| ("admin.listen", address)));
    let is_fixed = |address: &Address| !matches!(address, Address::Tcp(address) if address.port() == 0);
    let mut seen: Vec<(&'static str, &Address)> = Vec::new();
    for (key, address) in named.filter(|(_, address)| is_fixed(address)) {
        let twin = seen.iter().find(|(_, other)| *other == address);
        match twin.map(|(other, _)| *other) {
            None => seen.push((key, address)),
            Some(other) if other == key => {
                let message = format!("`{address}` stands here twice; leave one of them out");
                found.add(key, message);
            }
            Some(other) => {
                let message = format!("`{address}` is an address of `{other}` too; give one of them another");
                found.add(key, message);
            }
        }
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

//! `[uploads]`, and an endpoint's `uploads`: forms with files, and what they may take.

use serde::Deserialize;

use super::unit::Size;

/// Where the files of forms are while their requests are answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spooling {
    /// Bytes of all files that are being uploaded or worked on, in memory and in `state.dir/uploads`; a request beyond is 503.
    /// Default 1 GiB.
    pub bytes_max: Size,
    /// Bytes of the files of one caller among them (a key, a token's subject, or an address); a request beyond is 429. Default
    /// 256 MiB.
    pub caller_bytes_max: Size,
    /// Bytes of them in memory, where short files are kept; one that finds no room there goes to disk. Default 64 MiB.
    pub memory_bytes_max: Size,
}

impl Default for Spooling {
    fn default() -> Self {
        Self {
            bytes_max: Size(1 << 30),
            caller_bytes_max: Size(256 << 20),
            memory_bytes_max: Size(64 << 20),
        }
    }
}

/// What an endpoint whose own path takes forms (`multipart/form-data`) takes. Plain fields are bounded by `server.body_size_max`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uploads {
    /// Names of the fields that are files; a file under another name is refused.
    pub files: Vec<String>,
    /// Names of the plain fields that are lists, also where only one part brings them. Default none; whatever comes in several
    /// parts is a list, and so is what a schema of `json-schema` calls an array.
    #[serde(default)]
    pub lists: Vec<String>,
    /// Bytes of one file at most. Default 16 MiB.
    #[serde(default = "file_size_max")]
    pub file_size_max: Size,
    /// Bytes of a whole form at most. Default 32 MiB.
    #[serde(default = "size_max")]
    pub size_max: Size,
    /// Parts of a form at most, files and plain fields together. Default 64.
    #[serde(default = "parts_max")]
    pub parts_max: usize,
}

fn file_size_max() -> Size {
    Size(16 << 20)
}

fn size_max() -> Size {
    Size(32 << 20)
}

fn parts_max() -> usize {
    64
}

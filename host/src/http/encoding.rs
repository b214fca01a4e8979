//! Bodies that clients pack: gzip, deflate and zstd, unpacked within the limit that holds for plain ones.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::pipeline::ClientFault;

/// Packed bodies up to this length are unpacked where they are; it takes less than a millisecond, mostly.
const SHORT_LEN: usize = 4 << 10;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// It is not.
    Plain,
    /// <https://www.rfc-editor.org/rfc/rfc1952>
    Gzip,
    /// zlib (<https://www.rfc-editor.org/rfc/rfc1950>), or, as some clients have it, without its head.
    Deflate,
    /// <https://www.rfc-editor.org/rfc/rfc8878>
    Zstd,
}

impl Encoding {
    /// What the headers say.
    ///
    /// # Errors
    ///
    /// Where it is another, or several one in another.
    pub fn of(headers: &HeaderMap) -> Result<Self, ClientFault> {
        let Some(value) = headers.get(CONTENT_ENCODING) else {
            return Ok(Self::Plain);
        };
        let name = String::from_utf8_lossy(value.as_bytes())
            .trim()
            .to_ascii_lowercase();
        match name.as_str() {
            "" | "identity" => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            "zstd" => Ok(Self::Zstd),
            _ => Err(ClientFault::Encoding(name)),
        }
    }

    /// The plain body.
    ///
    /// # Errors
    ///
    /// Where it is longer than `len_max`, or not packed as it says.
    pub async fn unpack(self, packed: Bytes, len_max: usize) -> Result<Bytes, ClientFault> {
        if self == Self::Plain {
            return Ok(packed);
        }
        if packed.len() <= SHORT_LEN {
            return self.unpack_here(&packed, len_max);
        }
        let unpacked = tokio::task::spawn_blocking(move || self.unpack_here(&packed, len_max));
        unpacked
            .await
            .unwrap_or_else(|_| Err(ClientFault::BodyBroken("it cannot be unpacked".to_owned())))
    }

    fn unpack_here(self, packed: &[u8], len_max: usize) -> Result<Bytes, ClientFault> {
        let broken = |error: io::Error| ClientFault::BodyBroken(format!("it cannot be unpacked: {error}"));
        let mut reader: Box<dyn Read + '_> = match self {
            Self::Plain => Box::new(packed),
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Deflate if has_zlib_head(packed) => Box::new(ZlibDecoder::new(packed)),
            Self::Deflate => Box::new(DeflateDecoder::new(packed)),
            Self::Zstd => Box::new(zstd::Decoder::new(packed).map_err(broken)?),
        };
        let mut plain = Vec::new();
        // One byte more than may be tells that there is more.
        let limit = len_max as u64 + 1;
        reader
            .by_ref()
            .take(limit)
            .read_to_end(&mut plain)
            .map_err(broken)?;
        if plain.len() > len_max {
            return Err(ClientFault::BodyTooLarge { max: len_max });
        }
        Ok(plain.into())
    }
}

/// Its first two bytes: method 8, and a multiple of 31.
fn has_zlib_head(packed: &[u8]) -> bool {
    matches!(packed, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::Encoding;
    use crate::pipeline::ClientFault;

    fn packed(text: &[u8]) -> [(Encoding, Vec<u8>); 4] {
        let level = Compression::default();
        let mut gzip = GzEncoder::new(Vec::new(), level);
        let (mut zlib, mut raw) = (
            ZlibEncoder::new(Vec::new(), level),
            DeflateEncoder::new(Vec::new(), level),
        );
        for writer in [&mut gzip as &mut dyn Write, &mut zlib, &mut raw] {
            writer.write_all(text).expect("packed");
        }
        [
            (Encoding::Gzip, gzip.finish().expect("packed")),
            (Encoding::Deflate, zlib.finish().expect("packed")),
            (Encoding::Deflate, raw.finish().expect("packed")),
            (Encoding::Zstd, zstd::encode_all(text, 0).expect("packed")),
        ]
    }

    #[tokio::test]
    async fn unpacks_what_clients_pack() {
        for (encoding, packed) in packed(b"{\"text\":\"a\"}") {
            let plain = encoding.unpack(packed.into(), 100).await;
            assert_eq!(plain.expect("unpacked"), "{\"text\":\"a\"}", "{encoding:?}");
        }
    }

    #[tokio::test]
    async fn a_bomb_is_refused_at_the_limit_and_garbage_is_broken() {
        for (encoding, packed) in packed(&vec![0; 64 << 20]) {
            assert!(packed.len() < 1 << 20, "{encoding:?}");
            let refused = encoding.unpack(packed.into(), 1 << 20).await;
            assert_eq!(
                refused,
                Err(ClientFault::BodyTooLarge { max: 1 << 20 }),
                "{encoding:?}"
            );
            let broken = encoding.unpack(vec![1_u8; 100].into(), 1 << 20).await;
            assert!(
                matches!(broken, Err(ClientFault::BodyBroken(_))),
                "{encoding:?}: {broken:?}"
            );
        }
    }
}

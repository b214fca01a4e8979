//! What the model is given of a file: the bytes of its beginning and of its end, white space at the edges left out. Pure;
//! knows no WIT.
//!
//! Of a file that has too few bytes for the model it is told here what it is.

use crate::config::Window;

/// A file that the model cannot judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scant {
    /// It has no bytes.
    Empty,
    /// It has a few, in UTF-8.
    Text,
    /// It has a few others.
    Binary,
}

impl Scant {
    const ALL: [Self; 3] = [Self::Empty, Self::Text, Self::Binary];

    /// The label that stands for it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Text => "txt",
            Self::Binary => "unknown",
        }
    }

    /// What a label stands for.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scant| scant.label() == label)
    }
}

impl Window {
    /// The window, if it is one.
    ///
    /// # Errors
    ///
    /// Where a block has not room for the bytes that are taken of it.
    pub fn checked(self) -> Result<Self, String> {
        let sizes = 1..=self.block_size as usize;
        if !sizes.contains(&self.begin_size) || !sizes.contains(&self.end_size) {
            return Err("window: `begin_size` and `end_size` are between 1 and `block_size`".to_owned());
        }
        if !(1..=self.begin_size).contains(&self.size_min) {
            return Err("window: `size_min` is between 1 and `begin_size`".to_owned());
        }
        Ok(self)
    }

    /// Shape of the tensor.
    #[must_use]
    pub fn shape(&self) -> [u32; 2] {
        let len = self.begin_size + self.end_size;
        [1, u32::try_from(len).unwrap_or(u32::MAX)]
    }

    /// Where the last block of a file begins, unless the first one is all of it.
    #[must_use]
    pub fn end_offset(&self, size: u64) -> Option<u64> {
        size.checked_sub(self.block_size.into())
            .filter(|&offset| offset > 0)
    }

    /// Whether a file has too few bytes, from its first block.
    #[must_use]
    pub fn scant(&self, first: &[u8]) -> Option<Scant> {
        if first.is_empty() {
            return Some(Scant::Empty);
        }
        if trim_start(first).len() >= self.size_min {
            return None;
        }
        // A character that the block cuts counts as no text: magika's own library has it so.
        let is_text = std::str::from_utf8(first).is_ok();
        Some(if is_text { Scant::Text } else { Scant::Binary })
    }

    /// The tensor's data, i32: the beginning, padded behind, and the end, padded before.
    #[must_use]
    pub fn tensor(&self, first: &[u8], last: &[u8]) -> Vec<u8> {
        let begin = trim_start(first);
        let begin = &begin[..begin.len().min(self.begin_size)];
        let end = trim_end(last);
        let end = &end[end.len().saturating_sub(self.end_size)..];
        let mut tokens = vec![self.padding_token.to_le_bytes(); self.begin_size + self.end_size];
        let end_start = tokens.len() - end.len();
        write(&mut tokens[..begin.len()], begin);
        write(&mut tokens[end_start..], end);
        tokens.into_flattened()
    }
}

/// Each byte as an i32.
fn write(tokens: &mut [[u8; 4]], bytes: &[u8]) {
    for (token, &byte) in tokens.iter_mut().zip(bytes) {
        *token = i32::from(byte).to_le_bytes();
    }
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&byte| !is_space(byte));
    &bytes[start.unwrap_or(bytes.len())..]
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|&byte| !is_space(byte));
    &bytes[..last.map_or(0, |last| last + 1)]
}

/// As Python's `bytes.strip` has it, the vertical tab included.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::Scant;
    use crate::config::Window;

    const WINDOW: Window = Window {
        begin_size: 4,
        end_size: 3,
        block_size: 8,
        padding_token: 256,
        size_min: 2,
    };

    /// The tensor of a file, cut into its blocks as the glue cuts it.
    fn tokens(file: &[u8]) -> Vec<i32> {
        let first = &file[..file.len().min(8)];
        let last = WINDOW.end_offset(file.len() as u64);
        let last = last.map_or(first, |offset| &file[offset as usize..]);
        let data = WINDOW.tensor(first, last);
        let (tokens, rest) = data.as_chunks();
        assert!(rest.is_empty());
        tokens.iter().map(|&token| i32::from_le_bytes(token)).collect()
    }

    fn bytes(bytes: &[u8]) -> Vec<i32> {
        bytes.iter().map(|&byte| byte.into()).collect()
    }

    #[test]
    fn takes_the_beginning_and_the_end() {
        assert_eq!(tokens(b"abcdefghijklmnop"), bytes(b"abcdnop"));
        assert_eq!(tokens(b"abcdefgh"), bytes(b"abcdfgh"));
        assert_eq!(tokens(b"\xff\x80\0\x01"), [255, 128, 0, 1, 128, 0, 1]);
    }

    #[test]
    fn pads_behind_the_beginning_and_before_the_end() {
        assert_eq!(
            tokens(b"ab"),
            [97, 98, 256, 256, 256, 97, 98],
            "both of the same bytes"
        );
        assert_eq!(tokens(b""), [256; 7]);
        assert_eq!(tokens(b"  \n"), [256; 7]);
    }

    #[test]
    fn leaves_out_white_space_at_the_edges_alone() {
        assert_eq!(tokens(b"a b \n\t\r\x0b"), [97, 32, 98, 32, 97, 32, 98]);
        assert_eq!(tokens(b"\x0c \x0b\r\ta b"), [97, 32, 98, 256, 97, 32, 98]);
        assert_eq!(
            tokens(b"  a "),
            [97, 32, 256, 256, 32, 32, 97],
            "the beginning keeps what stands behind it, and the end what stands before"
        );
    }

    #[test]
    fn white_space_is_looked_for_in_a_block_and_no_further() {
        assert_eq!(tokens(b"        abcdefgh"), [256, 256, 256, 256, 102, 103, 104]);
    }

    #[test]
    fn reads_the_last_block_where_the_first_is_not_all() {
        assert_eq!(WINDOW.end_offset(0), None);
        assert_eq!(WINDOW.end_offset(8), None);
        assert_eq!(WINDOW.end_offset(9), Some(1));
    }

    #[test]
    fn a_file_of_few_bytes_is_told_by_them() {
        assert_eq!(WINDOW.scant(b""), Some(Scant::Empty));
        assert_eq!(WINDOW.scant(b"a"), Some(Scant::Text));
        assert_eq!(WINDOW.scant(b" \n \n "), Some(Scant::Text));
        assert_eq!(WINDOW.scant(b"  \xff"), Some(Scant::Binary));
        assert_eq!(WINDOW.scant("ä".as_bytes()), None);
        assert_eq!(
            WINDOW.scant(b"       \xc3"),
            Some(Scant::Binary),
            "cut by the block"
        );
        assert_eq!(WINDOW.scant(b"a "), None, "white space behind it counts");
    }

    #[test]
    fn a_label_stands_for_each_such_file() {
        for scant in Scant::ALL {
            assert_eq!(Scant::of_label(scant.label()), Some(scant));
        }
        assert_eq!(Scant::of_label("png"), None);
    }

    #[test]
    fn refuses_a_window_that_does_not_fit_its_blocks() {
        assert_eq!(WINDOW.checked(), Ok(WINDOW));
        let wrong = |change: fn(&mut Window)| {
            let mut window = WINDOW;
            change(&mut window);
            assert!(window.checked().is_err(), "{window:?}");
        };
        wrong(|window| window.begin_size = 9);
        wrong(|window| window.end_size = 0);
        wrong(|window| window.size_min = 5);
    }
}

//! Weights on huge pages.
//!
//! A decoder reads all of its weights for every token, so it is as fast as memory is. On pages of 4 KiB a core reads little more than
//! half of what it reads on pages of 2 MiB: it stops at every border to look the next page up. ONNX Runtime allocates weights with
//! the C library, which does not ask for huge pages, and takes no allocator for weights alone. So we look where memory came while a
//! session was loaded, and ask the kernel to join those pages. See `madvise(2)`, `MADV_COLLAPSE`.

use std::fs;
use std::ops::Range;

/// Size of a huge page in bytes: the size of a page times the number of addresses (8 bytes each) that one page holds. It is 2 MiB on
/// x86-64 and on arm64 with pages of 4 KiB, 32 MiB with pages of 16 KiB, and 512 MiB with pages of 64 KiB. With the last, nothing is
/// large enough to be joined.
fn huge_page() -> usize {
    let page = rustix::param::page_size();
    page / size_of::<u64>() * page
}

/// Where memory of our own lies at a moment. Another thread's memory may come at the same time; it is joined too, which harms nobody.
pub(crate) struct Snapshot(Vec<Range<usize>>);

impl Snapshot {
    /// Looks at the process's mappings. Empty where the system does not tell, as all but Linux.
    pub(crate) fn take() -> Self {
        Self(of_process(|_| true))
    }

    /// Puts what came since on huge pages, and returns how many bytes were asked for. Where the kernel has none to give, or is older
    /// than 6.1 and joins pages in its own time, all works as before.
    pub(crate) fn join_since(self) -> usize {
        memory::give_back();
        // What is mapped and hardly used, as a sandbox's reserve is, would take memory.
        let used = of_process(|mapping| mapping.resident * 2 >= mapping.range.len());
        let came = used.into_iter().flat_map(|range| without(range, &self.0));
        let pages = came.flat_map(|range| huge_pages(&range, huge_page()));
        let full = pages.filter(|page| memory::resident(page) * 4 >= page.len() * 3);
        full.map(memory::join).sum()
    }
}

/// A mapping that is written to and has no file behind it.
struct Mapping {
    range: Range<usize>,
    /// Bytes of it that are in memory.
    resident: usize,
}

fn of_process(wanted: impl Fn(&Mapping) -> bool) -> Vec<Range<usize>> {
    let told = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    mappings(&told)
        .filter(wanted)
        .map(|mapping| mapping.range)
        .collect()
}

/// Reads the kernel's list, in the order of addresses: a line for each mapping, and then its properties. See `proc_pid_smaps(5)`.
fn mappings(told: &str) -> impl Iterator<Item = Mapping> {
    let mut range = None;
    told.lines().filter_map(move |line| {
        let mut words = line.split_ascii_whitespace();
        match (words.next()?, words.next()?) {
            ("Rss:", kilobytes) => {
                let resident = kilobytes.parse::<usize>().ok()? << 10;
                range.take().map(|range| Mapping { range, resident })
            }
            (_, "rw-p") => {
                range = anonymous(line);
                None
            }
            _ => None,
        }
    })
}

/// The addresses in a mapping's first line, unless there is a file (an inode) behind it, or it is a stack.
fn anonymous(line: &str) -> Option<Range<usize>> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (start, end) = words.first()?.split_once('-')?;
    let named = words.get(5).is_some_and(|name| *name != "[heap]");
    if words.get(4) != Some(&"0") || named {
        return None;
    }
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

/// What of a range lies in none of the others, which are in order.
fn without(range: Range<usize>, others: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut left = Vec::new();
    let mut from = range.start;
    for other in others
        .iter()
        .filter(|other| other.start < range.end && other.end > range.start)
    {
        left.push(from..other.start.max(from));
        from = other.end;
    }
    left.push(from.min(range.end)..range.end);
    left.retain(|part| !part.is_empty());
    left
}

/// The huge pages that lie inside a range.
fn huge_pages(range: &Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let (first, end) = (range.start.next_multiple_of(size), range.end);
    let starts = (first..end).step_by(size);
    starts
        .map(move |start| start..start + size)
        .take_while(move |page| page.end <= end)
}

/// What is asked of the system.
#[cfg(target_os = "linux")]
mod memory {
    use std::ops::Range;
    use std::ptr::without_provenance_mut;

    /// Has the C library give back what it holds and nobody uses, so that it is not joined to what is used.
    pub(super) fn give_back() {
        #[cfg(target_env = "gnu")]
        // SAFETY: it takes no pointer, and touches free memory alone.
        unsafe {
            libc::malloc_trim(0);
        }
    }

    /// Bytes of a huge page that are in memory; 0 where the system does not tell.
    pub(super) fn resident(page: &Range<usize>) -> usize {
        let small_page = rustix::param::page_size();
        let mut told = vec![0_u8; page.len().div_ceil(small_page)];
        // SAFETY: `told` has a byte for each page; an address that is not mapped is refused.
        let refused =
            unsafe { libc::mincore(without_provenance_mut(page.start), page.len(), told.as_mut_ptr()) };
        let count = told.iter().filter(|byte| **byte & 1 == 1).count();
        if refused == 0 { count * small_page } else { 0 }
    }

    /// Joins a huge page now, or has the kernel do it in its own time where it does not know how; returns its length.
    pub(super) fn join(page: Range<usize>) -> usize {
        for advice in [libc::MADV_COLLAPSE, libc::MADV_HUGEPAGE] {
            // SAFETY: both advices leave every byte as it is, wherever they point to; what is no longer mapped is refused.
            let refused = unsafe { libc::madvise(without_provenance_mut(page.start), page.len(), advice) };
            if refused == 0 {
                return page.len();
            }
        }
        0
    }
}

#[cfg(not(target_os = "linux"))]
mod memory {
    use std::ops::Range;

    pub(super) fn give_back() {}

    pub(super) fn resident(_page: &Range<usize>) -> usize {
        0
    }

    pub(super) fn join(_page: Range<usize>) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 2 << 20;

    const TOLD: &str = "\
00400000-00900000 rw-p 00000000 00:00 0                                  [heap]
Size:               5120 kB
Rss:                4096 kB
7f0000000000-7f0000200000 rw-p 00000000 00:00 0
Rss:                   4 kB
7f0000200000-7f0000400000 rw-p 00000000 08:01 77                         /weights
Rss:                2048 kB
7f0000400000-7f0000600000 r--p 00000000 00:00 0
Rss:                2048 kB
7ffe00000000-7ffe00200000 rw-p 00000000 00:00 0                          [stack]
Rss:                2048 kB
";

    #[test]
    fn reads_mappings_without_a_file() {
        let found: Vec<_> = mappings(TOLD)
            .map(|mapping| (mapping.range, mapping.resident))
            .collect();
        let heap = (0x0040_0000..0x0090_0000, 4 << 20);
        let other = (0x7f00_0000_0000..0x7f00_0020_0000, 4 << 10);
        assert_eq!(found, [heap, other]);
    }

    #[test]
    fn leaves_out_what_was_there() {
        let left = |others: &[(usize, usize)]| -> Vec<(usize, usize)> {
            let others: Vec<_> = others.iter().map(|(start, end)| *start..*end).collect();
            let left = without(10..20, &others).into_iter();
            left.map(|range| (range.start, range.end)).collect()
        };
        assert_eq!(left(&[]), [(10, 20)]);
        assert_eq!(left(&[(0, 10), (20, 30)]), [(10, 20)]);
        assert_eq!(left(&[(0, 12), (14, 15), (18, 30)]), [(12, 14), (15, 18)]);
        assert_eq!(left(&[(5, 25)]), []);
    }

    #[test]
    fn takes_whole_pages_only() {
        let pages = |range: Range<usize>| huge_pages(&range, SIZE).count();
        assert_eq!(pages(1..SIZE * 3), 2);
        assert_eq!(pages(1..SIZE * 3 - 1), 1);
        assert_eq!(pages(1..SIZE), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn joins_what_came_and_is_used() {
        // Larger ones would take more memory than a test may.
        if huge_page() > SIZE {
            return;
        }
        let before = Snapshot::take();
        let mut memory = memmap2::MmapMut::map_anon(8 * SIZE).expect("memory");
        memory.fill(7);
        let joined = before.join_since();
        assert!(joined >= 7 * SIZE, "{joined}");
        assert!(memory.iter().all(|byte| *byte == 7));
    }
}

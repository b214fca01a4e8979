//! What runs for long lets others run first: not on the executor alone, which sees to that by turns, but on the machine's cores, of which a
//! small one has fewer than the node has threads.
//!
//! Since Linux 6.12 a thread may ask for longer or shorter slices (`sched_setattr(2)`, `sched_runtime`): one with longer slices gets as
//! much time as any other, but whoever wakes up beside it goes first, where else it would wait for a tick of the kernel's, 1 to 10 ms.
//! Before it, the wish is ignored.

use std::marker::PhantomData;

/// While it lives, its thread runs in long slices. It stays on that thread.
#[derive(Debug)]
pub struct Patient {
    before: Option<Attributes>,
    of_thread: PhantomData<*const ()>,
}

impl Patient {
    /// Asks for long slices until it is dropped. Where they cannot be had, everything stays as it is.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            before: lengthen(),
            of_thread: PhantomData,
        }
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            set(before);
        }
    }
}

#[cfg(target_os = "linux")]
type Attributes = libc::sched_attr;

#[cfg(not(target_os = "linux"))]
type Attributes = ();

/// The longest slice that there is, in nanoseconds.
#[cfg(target_os = "linux")]
const LONG: u64 = 100_000_000;

/// Lengthens this thread's slices; what it was before, where that was possible. Threads that an operator has put under another policy
/// than the usual one stay as they are.
#[cfg(target_os = "linux")]
fn lengthen() -> Option<Attributes> {
    let before = get()?;
    let usual = i32::try_from(before.sched_policy) == Ok(libc::SCHED_OTHER);
    let mut long = before;
    long.sched_runtime = LONG;
    (usual && set(&long)).then_some(before)
}

#[cfg(not(target_os = "linux"))]
fn lengthen() -> Option<Attributes> {
    None
}

/// How this thread is scheduled.
#[cfg(target_os = "linux")]
fn get() -> Option<Attributes> {
    let mut attributes = std::mem::MaybeUninit::<Attributes>::zeroed();
    // SAFETY: the kernel writes at most as many bytes as it is told that there are.
    let refused = unsafe {
        libc::syscall(
            libc::SYS_sched_getattr,
            THIS_THREAD,
            attributes.as_mut_ptr(),
            size_of::<Attributes>(),
            NO_FLAGS,
        )
    };
    // SAFETY: it is made of integers, all of which are written: by the kernel, or zero.
    (refused == 0).then(|| unsafe { attributes.assume_init() })
}

#[cfg(target_os = "linux")]
fn set(attributes: &Attributes) -> bool {
    // SAFETY: the kernel reads as many bytes as the structure says it has, which are those it has.
    let refused = unsafe { libc::syscall(libc::SYS_sched_setattr, THIS_THREAD, &raw const *attributes, NO_FLAGS) };
    refused == 0
}

#[cfg(not(target_os = "linux"))]
fn set(_: &Attributes) {}

#[cfg(target_os = "linux")]
const THIS_THREAD: libc::pid_t = 0;

#[cfg(target_os = "linux")]
const NO_FLAGS: libc::c_uint = 0;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{LONG, Patient, get};

    #[test]
    fn slices_are_long_as_long_as_it_lives() {
        let slice = || get().expect("how a thread is scheduled is known").sched_runtime;
        let before = slice();
        let patient = Patient::begin();
        // A kernel that has no slices to ask for tells none.
        let meanwhile = if before == 0 { 0 } else { LONG };
        assert_eq!(slice(), meanwhile);
        drop(patient);
        assert_eq!(slice(), before);
    }
}

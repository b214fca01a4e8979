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
const LONG_NS: u64 = 100_000_000;

/// Stands for the kernel's own choice.
#[cfg(target_os = "linux")]
const USUAL: u64 = 0;

/// Lengthens this thread's slices; what it was before, where that was possible. Threads that an operator has put under another policy
/// than the usual one stay as they are.
#[cfg(target_os = "linux")]
fn lengthen() -> Option<Attributes> {
    let mut before = get()?;
    let usual = i32::try_from(before.sched_policy) == Ok(libc::SCHED_OTHER);
    let mut long = before;
    long.sched_runtime = LONG_NS;
    if before.sched_runtime == LONG_NS {
        before.sched_runtime = USUAL;
    }
    (usual && set(&long)).then_some(before)
}

#[cfg(not(target_os = "linux"))]
fn lengthen() -> Option<Attributes> {
    None
}

/// Takes back what a thread inherits that was started by a patient one: for a thread's beginning.
pub fn forget() {
    #[cfg(target_os = "linux")]
    if let Some(mut inherited) = get().filter(|inherited| inherited.sched_runtime == LONG_NS) {
        inherited.sched_runtime = USUAL;
        set(&inherited);
    }
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
    let mut attributes = *attributes;
    // SAFETY: the kernel reads as many bytes as the structure says it has, which are those it has; it may write that number.
    let refused = unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            THIS_THREAD,
            &raw mut attributes,
            NO_FLAGS,
        )
    };
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
    use super::{LONG_NS, Patient, forget, get};

    /// This thread's slice; none where the kernel has none to ask for, or another policy is at work.
    fn slice() -> Option<u64> {
        let usual = get().filter(|found| i32::try_from(found.sched_policy) == Ok(libc::SCHED_OTHER))?;
        Some(usual.sched_runtime).filter(|slice| *slice > 0)
    }

    #[test]
    fn slices_are_long_as_long_as_it_lives() {
        let before = slice();
        let patient = Patient::begin();
        assert_eq!(slice(), before.map(|_| LONG_NS));
        drop(patient);
        assert_eq!(slice(), before);
    }

    #[test]
    fn a_thread_that_inherits_them_gives_them_back() {
        let before = slice();
        let patient = Patient::begin();
        let child = |ends: fn()| {
            let inherited = slice();
            ends();
            (inherited, slice())
        };
        for ends in [forget, || drop(Patient::begin())] {
            let slices = std::thread::scope(|scope| scope.spawn(|| child(ends)).join());
            assert_eq!(slices.expect("no panic"), (before.map(|_| LONG_NS), before));
        }
        drop(patient);
    }
}

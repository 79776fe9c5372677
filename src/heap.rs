//! What the C library's allocator does with memory that nobody uses.
//!
//! glibc gives each thread an arena, up to eight for a processor, and every arena keeps the pages that
//! were in use in it once. An agent whose encoders and uploads wander over many threads so keeps some
//! times of what its tasks need at any moment, although nothing has leaked. Two arenas are enough for a
//! program that allocates whole buffers, and what is free when nothing runs goes back to the system.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    /// Arenas of the process at most.
    const ARENAS: libc::c_int = 2;

    #[expect(unsafe_code, reason = "a call of the C library, with two numbers")]
    pub(super) fn settle() {
        // SAFETY: it changes a number of the allocator, under the allocator's own lock.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
    }

    #[expect(unsafe_code, reason = "a call of the C library, with a number")]
    pub(super) fn give_back() {
        // SAFETY: it touches free memory alone, under the allocator's own locks.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Bounds what is kept from now on.
pub(crate) fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::settle();
}

/// Gives what is free back to the system. Takes milliseconds for a hundred megabytes; blocks.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::give_back();
}

//! The wall clock.

use libc::{c_int, c_void, time_t, timespec, timeval};

use crate::{raw, shim};

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut timespec) -> c_int {
    // SAFETY: see `open`.
    let read = unsafe { raw::clock_gettime(clock, time) };
    let is_wall = matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE);
    let offset_ms = shim::clock_offset_ms();
    if read == 0 && is_wall && offset_ms != 0 {
        if shim::is_offset_new(offset_ms) {
            raw::say(&format!("faultdisk: the clock is read {offset_ms} ms off\n"));
        }
        const NS_PER_MS: i64 = 1_000_000;
        const MS_PER_SECOND: i64 = 1_000;
        // SAFETY: the call has just filled it.
        let time = unsafe { &mut *time };
        let ns = time.tv_nsec + offset_ms.rem_euclid(MS_PER_SECOND) * NS_PER_MS;
        time.tv_sec += offset_ms.div_euclid(MS_PER_SECOND) + ns / (MS_PER_SECOND * NS_PER_MS);
        time.tv_nsec = ns % (MS_PER_SECOND * NS_PER_MS);
    }
    read
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(time: *mut timeval, _zone: *mut c_void) -> c_int {
    const NS_PER_US: i64 = 1_000;
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is ours.
    let read = unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    if read == 0 && !time.is_null() {
        // SAFETY: the caller gives a place for the time.
        unsafe { *time = timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / NS_PER_US } };
    }
    read
}

#[unsafe(no_mangle)]
unsafe extern "C" fn time(place: *mut time_t) -> time_t {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is ours.
    unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    if !place.is_null() {
        // SAFETY: the caller gives a place for the time.
        unsafe { *place = now.tv_sec };
    }
    now.tv_sec
}

//! Chance and clocks of the C library, taken over: whatever asks the operating system for either, in whatever crate,
//! gets what the seed says.
//!
//! std seeds its hash maps through `getrandom`, `rand` its generators, `uuid` its ids; std's clocks read
//! `clock_gettime`. A function of the program prevails over the C library's function of the same name. Outside a
//! simulation both ask the kernel.

#![allow(unsafe_code, reason = "functions of the C library are replaced")]

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// What `CLOCK_REALTIME` shows when a simulation begins: 2026-01-01 00:00 UTC.
pub const EPOCH: Duration = Duration::from_secs(1_767_225_600);
/// What every other clock shows then.
pub const UPTIME: Duration = Duration::from_secs(100_000);

thread_local! {
    /// The generator of the thread that simulates; `None` elsewhere.
    static CHANCE: Cell<Option<u64>> = const { Cell::new(None) };
    /// Time since the simulation began, for whoever asks between the turns of the hosts.
    static ELAPSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// The turn of a process: when it began, in both times.
    static TURN: Cell<Option<(Duration, Instant)>> = const { Cell::new(None) };
    static DRAWS: Cell<u64> = const { Cell::new(0) };
    static READINGS: Cell<u64> = const { Cell::new(0) };
}

/// From now on this thread lives in a simulation.
pub fn take_over(seed: u64) {
    CHANCE.set(Some(seed));
}

/// How often chance and clocks were asked for: counts that stay zero mean that nothing was taken over.
pub fn uses() -> (u64, u64) {
    (DRAWS.get(), READINGS.get())
}

/// Time moved on.
pub fn set_elapsed(elapsed: Duration) {
    ELAPSED.set(elapsed);
}

/// It is a process's turn, which begins `now`, at `began` by the clock of its runtime.
pub fn begin_turn(now: Duration, began: Instant) {
    TURN.set(Some((now, began)));
}

/// The turn is over.
pub fn end_turn() {
    TURN.set(None);
}

/// Time since the simulation began, as whoever's turn it is sees it: a process, or a host of turmoil.
pub fn elapsed() -> Duration {
    // Between turns, and while a runtime is torn down, there is nobody to ask.
    let is_in_runtime = tokio::runtime::Handle::try_current().is_ok();
    let of_turn = || TURN.get().map(|(now, began)| now + began.elapsed());
    let seen = is_in_runtime.then(|| of_turn().or_else(turmoil::sim_elapsed)).flatten();
    seen.unwrap_or_default().max(ELAPSED.get())
}

/// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn next(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (state, mixed ^ (mixed >> 31))
}

/// Replaces `getrandom(2)` of the C library.
///
/// # Safety
/// As the C library's: `buffer` must be valid for writes of `len` bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    len: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    let Ok(Some(mut state)) = CHANCE.try_with(Cell::get) else {
        // SAFETY: the caller's promise is passed on to the kernel.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, len, flags) } as libc::ssize_t;
    };
    // SAFETY: the caller promises that so many bytes may be written; they need not be initialised for `write`.
    let bytes =
        unsafe { std::slice::from_raw_parts_mut(buffer.cast::<std::mem::MaybeUninit<u8>>(), len) };
    for chunk in bytes.chunks_mut(8) {
        let (moved, drawn) = next(state);
        state = moved;
        for (byte, value) in chunk.iter_mut().zip(drawn.to_le_bytes()) {
            byte.write(value);
        }
    }
    CHANCE.set(Some(state));
    DRAWS.set(DRAWS.get() + 1);
    len as libc::ssize_t
}

/// Replaces `clock_gettime(2)` of the C library.
///
/// # Safety
/// As the C library's: `reading` must be valid for a write.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    reading: *mut libc::timespec,
) -> libc::c_int {
    let is_simulated = CHANCE.try_with(Cell::get).is_ok_and(|state| state.is_some());
    if !is_simulated || reading.is_null() {
        // SAFETY: the caller's promise is passed on to the kernel.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, reading) } as libc::c_int;
    }
    READINGS.set(READINGS.get() + 1);
    let base = if clock == libc::CLOCK_REALTIME { EPOCH } else { UPTIME };
    // Not as the host sees it: tokio itself reads this clock, and a host's time is tokio's.
    let time = base + ELAPSED.get();
    // SAFETY: not null, and the caller promises that it may be written.
    unsafe {
        (*reading).tv_sec = time.as_secs() as libc::time_t;
        (*reading).tv_nsec = libc::c_long::from(time.subsec_nanos());
    }
    0
}

/// Time that passed for real, for measuring the simulation itself.
pub fn real_time() -> Duration {
    let mut reading = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the reading is a local variable.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut reading) };
    Duration::new(reading.tv_sec as u64, reading.tv_nsec as u32)
}

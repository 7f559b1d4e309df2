//! The thin binary: everything is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Alerts are in memory in clear while they are sealed; what is freed is overwritten.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    sealrelay::cli::main()
}

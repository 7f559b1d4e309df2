#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sealrelay::fuzzing::json(input));

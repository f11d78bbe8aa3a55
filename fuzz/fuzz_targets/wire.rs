//! libFuzzer's way to `relay_sim::fuzz::wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    relay_sim::fuzz::wire(bytes);
});

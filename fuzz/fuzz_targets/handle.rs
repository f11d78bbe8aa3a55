//! libFuzzer's way to `relay_sim::fuzz::handle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    relay_sim::fuzz::handle(bytes);
});

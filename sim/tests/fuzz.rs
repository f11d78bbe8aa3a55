//! What fuzzing has kept: every file of `fixtures/fuzz/` is lived again, twice, and ends alike.

use relay_core::Digest;
use relay_sim::fuzz;
use std::fs;
use std::path::Path;

/// Bytes of all files together.
const SIZE: usize = 300 * 1024;

fn lives_alike(target: &str, body: fn(&[u8]) -> Digest) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/fuzz").join(target);
    let mut size = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        // Shown only if it fails: which file it was.
        println!("{}", path.display());
        assert_eq!(body(&bytes), body(&bytes));
        size += bytes.len();
    }
    assert!((1..=SIZE / 2).contains(&size), "{target} has {size} bytes");
}

#[test]
fn every_kept_life_goes_as_it_should() {
    lives_alike("handle", fuzz::handle);
}

#[test]
fn every_kept_frame_is_taken_as_it_should() {
    lives_alike("wire", fuzz::wire);
}

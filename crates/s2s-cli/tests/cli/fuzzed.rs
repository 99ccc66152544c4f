//! The inputs that `cargo xtask fuzz` begins with, and those that broke something once.

use std::fs;
use std::path::Path;

#[path = "../../../../xtask/fuzz/src/targets.rs"]
mod targets;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../xtask/fuzz/corpus");

#[test]
fn every_target_returns_whatever_its_input_is() {
    for (name, target) in targets::ALL {
        let mut n_inputs = 0;
        for entry in fs::read_dir(Path::new(CORPUS).join(name)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(path).unwrap();
            target(&input);
            // And what is left of it when it is cut.
            for part in 1..8 {
                target(&input[..input.len() * part / 8]);
            }
            n_inputs += 1;
        }
        assert!(n_inputs > 0, "no input for {name}");
        target(b"");
    }
}

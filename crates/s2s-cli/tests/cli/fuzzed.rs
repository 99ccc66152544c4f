//! Runs the fuzz targets on their seed inputs and on inputs that once failed.

use std::fs;
use std::path::Path;

#[path = "../../../../xtask/fuzz/src/targets.rs"]
mod targets;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../xtask/fuzz/corpus");

#[test]
fn every_target_returns_for_every_input() {
    for (name, target) in targets::ALL {
        let mut n_inputs = 0;
        for entry in fs::read_dir(Path::new(CORPUS).join(name)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(path).unwrap();
            target(&input);
            // And truncated inputs.
            for part in 1..8 {
                target(&input[..input.len() * part / 8]);
            }
            n_inputs += 1;
        }
        assert!(n_inputs > 0, "no input for {name}");
        target(b"");
    }
}

//! The programs of the pages: their modules, joined into one script.

/// A module: its path in the folder `viewer`, and its text.
type Module = (&'static str, &'static str);

macro_rules! modules {
    ($($path:literal)*) => {
        &[$(($path, include_str!(concat!("../../viewer/", $path)))),*]
    };
}

/// The modules of the page of runs, each after those that it imports.
pub(super) const RUNS: &[Module] = modules!(
    "model/numbers.mjs"
    "model/params.mjs"
    "model/gru.mjs"
    "model/lstm.mjs"
    "model/connections.mjs"
    "model/recurrent.mjs"
    "model/encoder.mjs"
    "model/bridge.mjs"
    "model/attention/memory.mjs"
    "model/attention/additive.mjs"
    "model/attention/dot.mjs"
    "model/attention/windows.mjs"
    "model/attention/location.mjs"
    "model/attention/dynamic_convolution.mjs"
    "model/attention/shift.mjs"
    "model/attention/ntm.mjs"
    "model/attention/location_relative.mjs"
    "model/attention/none.mjs"
    "model/attention/kinds.mjs"
    "model/decoder.mjs"
    "model/transducer.mjs"
    "model/seq2seq.mjs"
    "model/trace.mjs"
    "data/embedded.mjs"
    "data/server.mjs"
    "view/dom.mjs"
    "view/format.mjs"
    "view/theme.mjs"
    "view/vocabulary.mjs"
    "view/task.mjs"
    "view/heatmap.mjs"
    "view/links.mjs"
    "view/chart.mjs"
    "view/marked.mjs"
    "view/player.mjs"
    "view/source_strip.mjs"
    "view/output_strip.mjs"
    "view/step_detail.mjs"
    "view/decode.mjs"
    "view/training.mjs"
    "view/failures.mjs"
    "view/numbers_view.mjs"
    "view/tabs.mjs"
    "main.mjs"
);

/// Those of the page of an experiment.
pub(super) const EXPERIMENT: &[Module] = modules!(
    "view/dom.mjs"
    "view/format.mjs"
    "view/theme.mjs"
    "view/chart.mjs"
    "view/tabs.mjs"
    "experiment/study.mjs"
    "experiment/cells.mjs"
    "experiment/map.mjs"
    "experiment/parallel.mjs"
    "experiment/curves.mjs"
    "experiment/main.mjs"
);

/// One script of these modules. Imports are dropped, since all names are in one scope.
pub(super) fn script(modules: &[Module]) -> String {
    let mut script = String::from("\n");
    for (_, text) in modules {
        let mut in_import = false;
        for line in text.lines() {
            in_import |= line.starts_with("import ");
            if !in_import {
                script += line.strip_prefix("export ").unwrap_or(line);
                script.push('\n');
            }
            in_import &= !line.ends_with(';');
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// The words after the keywords that declare a name at the top of a module.
    fn declared(text: &str) -> impl Iterator<Item = &str> {
        text.lines().filter_map(|line| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            let rest = ["const ", "let ", "function ", "class "]
                .iter()
                .find_map(|keyword| line.strip_prefix(keyword))?;
            rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
        })
    }

    #[test]
    fn no_two_modules_declare_a_name() {
        for modules in [RUNS, EXPERIMENT] {
            let mut names = BTreeSet::new();
            for (path, text) in modules {
                for name in declared(text) {
                    assert!(names.insert(name), "{name} of {path} is declared twice");
                }
            }
            assert!(names.contains("Tabs") && names.contains("start"));
        }
    }

    #[test]
    fn imports_name_modules_before_the_one_that_imports() {
        for modules in [RUNS, EXPERIMENT] {
            check_imports(modules);
        }
    }

    fn check_imports(modules: &[Module]) {
        let mut before = BTreeSet::new();
        for (path, text) in modules {
            let folder = Path::new(path).parent().unwrap();
            for line in text.lines().filter(|line| line.contains(" from \"")) {
                let (_, rest) = line.split_once(" from \"").unwrap();
                let mut found = PathBuf::new();
                for part in folder.join(rest.trim_end_matches("\";")).components() {
                    match part.as_os_str().to_str().unwrap() {
                        "." => {}
                        ".." => drop(found.pop()),
                        name => found.push(name),
                    }
                }
                assert!(
                    before.contains(&found),
                    "{path} imports {}",
                    found.display()
                );
            }
            before.insert(PathBuf::from(path));
        }
    }

    #[test]
    fn every_module_of_the_folder_is_in_the_script() {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("viewer")];
        let mut found = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "mjs") {
                    found.insert(path);
                }
            }
        }
        let paths = RUNS.iter().chain(EXPERIMENT).map(|(path, _)| path);
        let joined: BTreeSet<&&str> = paths.collect();
        assert_eq!(found.len(), joined.len());
    }

    #[test]
    fn no_import_or_export_is_left() {
        for line in [RUNS, EXPERIMENT].map(script).concat().lines() {
            assert!(
                !line.starts_with("import ") && !line.starts_with("export "),
                "{line}"
            );
        }
    }
}

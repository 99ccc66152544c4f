//! Properties of every task. The error message of serde for an unknown task lists all tasks, so new ones
//! are tested automatically.

use proptest::prelude::*;
use reverse_data::{DataConfig, Task, TaskConfig, Token};

/// Every task with its name; `block` is the block size for tasks with blocks.
fn tasks(block: usize) -> Vec<(String, Box<dyn Task>)> {
    let refusal = toml::from_str::<DataConfig>("task = \"?\"").expect_err("`?` is not a task");
    // "unknown variant `?`, expected one of `a`, `b`"
    let quoted = refusal.message().split('`').skip(1).step_by(2);
    let names: Vec<String> = quoted.skip(1).map(str::to_owned).collect();
    assert!(names.len() > 1, "{refusal}");
    let built = names.into_iter().map(|name| {
        let config = [
            format!("task = {name:?}"),
            format!("task = {name:?}\nblock = {block}"),
        ]
        .into_iter()
        .map(|text| toml::from_str::<DataConfig>(&text).expect("a name from serde"))
        .find(|config| config.validate().is_empty());
        let config = config.unwrap_or_else(|| panic!("{name} has no valid configuration"));
        (name, config.task())
    });
    built.collect()
}

fn sources() -> impl Strategy<Value = Vec<Token>> {
    prop::collection::vec(1u32..20, 0..40)
}

fn counts(sequence: &[Token]) -> Vec<usize> {
    let count = |symbol| sequence.iter().filter(|other| **other == symbol).count();
    (0..20).map(count).collect()
}

proptest! {
    #[test]
    fn a_target_depends_on_its_source_only(source in sources(), other in sources(), block in 2usize..9) {
        for ((name, task), (_, again)) in tasks(block).into_iter().zip(tasks(block)) {
            let target = task.target(&source);
            task.target(&other);
            prop_assert_eq!(&task.target(&source), &target, "{}", name);
            prop_assert_eq!(&again.target(&source), &target, "{}", name);
        }
    }

    #[test]
    fn the_target_length_is_growth_times_the_source_length(source in sources(), block in 2usize..9) {
        for (name, task) in tasks(block) {
            prop_assert_eq!(task.target(&source).len(), task.growth() * source.len(), "{}", name);
        }
    }

    #[test]
    fn a_target_symbol_equals_the_source_symbol_at_its_origin(len in 0usize..40, block in 2usize..9) {
        let source: Vec<Token> = (0..len as u32).rev().collect(); // distinct and not sorted
        for (name, task) in tasks(block) {
            for (step, symbol) in task.target(&source).into_iter().enumerate() {
                if let Some(origin) = task.origin(len, step) {
                    prop_assert_eq!(source.get(origin), Some(&symbol), "{}", name);
                }
            }
        }
    }

    #[test]
    fn every_symbol_is_repeated_equally_often(source in sources(), block in 2usize..9) {
        for (name, task) in tasks(block) {
            let expected = counts(&source).into_iter().map(|count| count * task.growth());
            let expected: Vec<_> = expected.collect();
            prop_assert_eq!(counts(&task.target(&source)), expected, "{}", name);
        }
    }

    #[test]
    fn swapping_twice_restores_the_source(source in sources(), block in 2usize..9) {
        let mut n_tried = 0;
        for (name, task) in tasks(block) {
            if ["reverse", "copy", "bigram-flip", "block-reverse"].contains(&name.as_str()) {
                prop_assert_eq!(&task.target(&task.target(&source)), &source, "{}", name);
                n_tried += 1;
            }
        }
        prop_assert_eq!(n_tried, 4);
    }

    #[test]
    fn sorting_is_idempotent(source in sources()) {
        let (_, sort) = tasks(2).into_iter().find(|(name, _)| name == "sort").expect("it is a task");
        let sorted = sort.target(&source);
        prop_assert!(sorted.is_sorted());
        prop_assert_eq!(sort.target(&sorted), sorted);
    }

    #[test]
    fn one_block_is_reverse_and_blocks_of_two_are_bigram_flip(source in sources()) {
        let of = |wanted: TaskConfig, block| {
            DataConfig { task: wanted, block, ..DataConfig::default() }.task().target(&source)
        };
        prop_assert_eq!(of(TaskConfig::BlockReverse, 40), of(TaskConfig::Reverse, 0));
        prop_assert_eq!(of(TaskConfig::BlockReverse, 2), of(TaskConfig::BigramFlip, 0));
    }
}

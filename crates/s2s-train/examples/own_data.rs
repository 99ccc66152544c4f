//! Trains on pairs of your own: Roman numerals to decimal digits.
//!
//! ```sh
//! cargo run --release -p s2s-train --example own_data
//! ```

#![expect(clippy::print_stdout, reason = "an example for the terminal")]

use std::error::Error;

use candle_core::Device;
use reverse_data::Split;
use s2s_train::{Data, ExperimentConfig, Trainer};

/// Symbol n is character n - 1.
const CHARACTERS: &str = "0123456789ivxlc";

fn symbols(text: &str) -> Vec<u32> {
    let positions = text.chars().filter_map(|char| CHARACTERS.find(char));
    positions.map(|position| position as u32 + 1).collect()
}

fn roman(mut number: usize) -> String {
    let values = [100, 90, 50, 40, 10, 9, 5, 4, 1];
    let numerals = ["c", "xc", "l", "xl", "x", "ix", "v", "iv", "i"];
    let mut text = String::new();
    for (value, numeral) in values.into_iter().zip(numerals) {
        text += &numeral.repeat(number / value);
        number %= value;
    }
    text
}

/// The numbers with these remainders of a division by 7.
fn pairs(remainders: &[usize]) -> Vec<(Vec<u32>, Vec<u32>)> {
    let numbers = (1..400).filter(|number| remainders.contains(&(number % 7)));
    let pair = |number: usize| (symbols(&roman(number)), symbols(&number.to_string()));
    numbers.map(pair).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("exact match on unseen numbers: {:.3}", train_and_test()?);
    Ok(())
}

fn train_and_test() -> Result<f64, Box<dyn Error>> {
    let mut config = ExperimentConfig::default();
    config.data.vocab = CHARACTERS.len() as u32 + 1;
    (config.train.epochs, config.train.max_steps) = (0.into(), 200);
    config.train.batch_size = 32.try_into()?;
    config.train.learning_rate = 1e-2.try_into()?;
    config.train.warmup_steps = 20;

    let train = pairs(&[0, 1, 2, 3, 4]);
    let data = Data::pairs(&config, [train, pairs(&[5]), pairs(&[6])])?;
    let mut trainer = Trainer::with_data(config, data, 1, &Device::Cpu)?;
    trainer.run(&mut [])?;
    Ok(trainer.evaluate(Split::Test)?.free.exact_match())
}

#[test]
fn it_learns_to_read_numerals() {
    assert!(train_and_test().unwrap() > 0.9);
}

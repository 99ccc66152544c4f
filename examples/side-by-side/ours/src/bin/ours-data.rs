//! Reads Roman numerals: trains on pairs, and answers for a number that is not among them.

use std::error::Error;

use candle_core::Device;
use reverse_data::{Examples, Sequence, Tokenization, Vocabulary};
use s2s_train::{Data, ExperimentConfig, Trainer};

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

fn main() -> Result<(), Box<dyn Error>> {
    let mut config = ExperimentConfig::default();
    (config.train.epochs, config.train.max_steps) = (0.into(), 300);
    config.train.batch_size = 32.try_into()?;
    config.train.learning_rate = 1e-2.try_into()?;
    config.train.warmup_steps = 20;

    let characters = "0123456789ivxlc".chars().map(String::from);
    let vocabulary = Vocabulary::from_words(characters)?.with_tokenization(Tokenization::Chars);
    let mut splits = [const { Vec::new() }; 3];
    for number in 1..400 {
        let texts = [roman(number), number.to_string()];
        let [source, target] = texts.map(|text| Sequence::parse(&text, &vocabulary, 14));
        splits[[0, 0, 0, 0, 0, 1, 2][number % 7]].push((source?.tokens, target?.tokens));
    }
    let order = config.data.order(config.seed, config.train.batch_size);
    let data = Data::new(Examples::new(vocabulary, splits, order)?);
    let mut trainer = Trainer::with_data(config, data, 1, &Device::Cpu)?;
    trainer.run(&mut [])?;
    println!("{}", trainer.predict(&roman(146))?);
    Ok(())
}

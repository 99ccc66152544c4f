//! A trained transducer, read as a program.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{Result, bail};

use crate::decode::argmax;
use crate::{Interventions, OutputLimit, Seq2Seq, TransducerConfig, trace};

/// The program of a trained transducer: what it does most often, where its head sees the same.
///
/// Its probabilities are almost all near 0 or 1 after training. Read as certain, they are a finite automaton
/// with a head on the source. [`run`](Self::run) runs it without the model; if its outputs are those of the
/// model, it says what the model does at any length.
#[derive(Clone, Debug, PartialEq)]
pub struct Automaton {
    reach: usize,
    eos: u32,
    rules: BTreeMap<View, Rule>,
    /// Where the token under the head matters, too.
    exceptions: BTreeMap<(View, u32), Rule>,
    /// The token that each mode outputs at each token of the source.
    outputs: BTreeMap<(usize, u32), u32>,
}

/// What a choice depends on: the mode, and where the head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct View {
    /// The mode.
    pub mode: usize,
    /// Positions from the first one to the head; `None` beyond the reach.
    pub from_first: Option<usize>,
    /// Positions from the head to the last one; `None` beyond the reach.
    pub to_last: Option<usize>,
}

/// What an automaton does at a [`View`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The next mode.
    pub mode: usize,
    /// The move of the head.
    pub step: HeadMove,
}

/// A move of the head. It ends at the first or last position if it would leave the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeadMove {
    /// From where.
    pub place: Place,
    /// How far, towards the end.
    pub distance: isize,
}

/// Where a move starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The position of the head.
    Head,
    /// The first position.
    First,
    /// The last position.
    Last,
}

impl HeadMove {
    /// The move with this index among those of a transducer.
    fn of_index(index: usize, reach: usize) -> Self {
        let distances = 2 * reach + 1;
        Self {
            place: [Place::Head, Place::First, Place::Last][index / distances],
            distance: (index % distances) as isize - reach as isize,
        }
    }

    /// Where the head goes from `position` on a source of `length` positions, at least 1.
    pub fn apply(self, position: usize, length: usize) -> usize {
        let start = match self.place {
            Place::Head => position,
            Place::First => 0,
            Place::Last => length - 1,
        };
        start.saturating_add_signed(self.distance).min(length - 1)
    }
}

impl fmt::Display for HeadMove {
    /// `+1`, `first+2`, `last-1`, `stay`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            Place::Head if self.distance == 0 => return f.write_str("stay"),
            Place::Head => "",
            Place::First => "first",
            Place::Last => "last",
        };
        match self.distance {
            0 => f.write_str(place),
            distance => write!(f, "{place}{distance:+}"),
        }
    }
}

/// One step of a transducer, its probabilities read as certain.
#[derive(Clone, Debug, PartialEq)]
pub struct AutomatonStep {
    /// The mode.
    pub mode: usize,
    /// The last move.
    pub step: HeadMove,
    /// The position of the head after it.
    pub position: usize,
    /// The token that is output there.
    pub token: u32,
    /// The least of the probabilities of this mode, move, position and token.
    pub certainty: f32,
    /// The position of the head as probabilities, `[S]`.
    pub head: Vec<f32>,
}

/// What a model with a transducer does at each step of decoding a source.
///
/// # Errors
/// If the model has no transducer; and those of [`trace`].
pub fn automaton_steps(
    model: &Seq2Seq,
    source: &[u32],
    limit: OutputLimit,
) -> Result<Vec<AutomatonStep>> {
    let Some(config) = model.transducer() else {
        bail!("the model has no transducer: only that is an automaton");
    };
    let reach = config.reach.get();
    let steps = trace(model, source, limit, &Interventions::default())?;
    let steps = steps.into_iter().map(|step| {
        let choice = |of: &[f32]| {
            let index = argmax(of) as usize;
            (index, of[index])
        };
        let (mode, of_mode) = choice(&step.controls["mode"]);
        let (index, of_move) = choice(&step.controls["kernel"]);
        let (position, of_position) = choice(&step.weights);
        let of_token = step.probabilities[step.token as usize];
        AutomatonStep {
            mode,
            step: HeadMove::of_index(index, reach),
            position,
            token: step.token,
            certainty: of_mode.min(of_move).min(of_position).min(of_token),
            head: step.weights,
        }
    });
    Ok(steps.collect())
}

/// How often each choice was made.
type Votes<K, C> = BTreeMap<K, BTreeMap<C, usize>>;

impl Automaton {
    /// The program of a model with a transducer, from what it does on these sources.
    ///
    /// # Errors
    /// Those of [`automaton_steps`].
    pub fn of(model: &Seq2Seq, sources: &[Vec<u32>], limit: OutputLimit) -> Result<Self> {
        let reach = model.transducer().map_or(0, reach);
        let (mut rules, mut with_token) = (Votes::new(), Votes::new());
        let mut outputs = Votes::new();
        for source in sources {
            let (mut mode, mut position) = (0, 0);
            for step in automaton_steps(model, source, limit)? {
                let view = View::new(mode, position, source.len(), reach);
                let rule = Rule {
                    mode: step.mode,
                    step: step.step,
                };
                vote(&mut rules, view, rule);
                vote(&mut with_token, (view, source[position]), rule);
                vote(&mut outputs, (step.mode, source[step.position]), step.token);
                (mode, position) = (step.mode, step.position);
            }
        }
        let rules = winners(rules);
        let mut exceptions = winners(with_token);
        exceptions.retain(|(view, _), rule| rules.get(view) != Some(rule));
        Ok(Self {
            reach,
            eos: model.tokens().eos,
            rules,
            exceptions,
            outputs: winners(outputs),
        })
    }

    /// What it does at each view that occurred, by mode and then from the first position to the last.
    pub fn rules(&self) -> impl Iterator<Item = (View, Rule)> {
        self.rules.iter().map(|(view, rule)| (*view, *rule))
    }

    /// What it does instead at tokens that matter, in the same order.
    pub fn exceptions(&self) -> impl Iterator<Item = ((View, u32), Rule)> {
        self.exceptions.iter().map(|(at, rule)| (*at, *rule))
    }

    /// The token that each mode outputs at each token of the source.
    pub fn outputs(&self) -> impl Iterator<Item = ((usize, u32), u32)> {
        self.outputs.iter().map(|(at, token)| (*at, *token))
    }

    /// The output for a source, without EOS: the program alone, without the model. `None` if it comes to a
    /// view that never occurred, or has not ended after `limit` tokens.
    pub fn run(&self, source: &[u32], limit: usize) -> Option<Vec<u32>> {
        let (mut mode, mut position, mut said) = (0, 0, Vec::new());
        for _ in 0..limit {
            let view = View::new(mode, position, source.len(), self.reach);
            let exception = self.exceptions.get(&(view, *source.get(position)?));
            let rule = exception.or(self.rules.get(&view))?;
            mode = rule.mode;
            position = rule.step.apply(position, source.len());
            let token = *self.outputs.get(&(mode, *source.get(position)?))?;
            if token == self.eos {
                return Some(said);
            }
            said.push(token);
        }
        None
    }
}

impl View {
    fn new(mode: usize, position: usize, length: usize, reach: usize) -> Self {
        let near = |distance: usize| (distance <= reach).then_some(distance);
        Self {
            mode,
            from_first: near(position),
            to_last: near((length.saturating_sub(1)).saturating_sub(position)),
        }
    }
}

fn reach(config: &TransducerConfig) -> usize {
    config.reach.get()
}

fn vote<K: Ord, C: Ord>(votes: &mut Votes<K, C>, at: K, choice: C) {
    *votes.entry(at).or_default().entry(choice).or_default() += 1;
}

/// The most frequent choice at each key; the first of several.
fn winners<K: Ord, C: Ord>(votes: Votes<K, C>) -> BTreeMap<K, C> {
    let most = |choices: BTreeMap<C, usize>| {
        let last_most = choices.into_iter().rev().max_by_key(|(_, n)| *n);
        last_most.map(|(choice, _)| choice)
    };
    votes
        .into_iter()
        .filter_map(|(at, choices)| Some((at, most(choices)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that says its source twice: from the first symbol to the last, in mode 1 and then in 2.
    fn twice() -> Automaton {
        let rule = |mode, place, distance| Rule {
            mode,
            step: HeadMove { place, distance },
        };
        let mut rules = BTreeMap::new();
        for length in 2..8 {
            for position in 0..length {
                for mode in 0..3 {
                    let view = View::new(mode, position, length, 1);
                    let rule = match (mode, view.to_last) {
                        (0, Some(1)) => rule(2, Place::Head, 1),
                        (0, _) => rule(1, Place::Head, 1),
                        (1, Some(1)) => rule(2, Place::First, 1),
                        (mode, _) => rule(mode, Place::Head, 1),
                    };
                    rules.insert(view, rule);
                }
            }
        }
        let outputs = [7, 8, 9]
            .into_iter()
            .flat_map(|token| [1, 2].map(|mode| ((mode, token), token)));
        Automaton {
            reach: 1,
            eos: 9,
            rules,
            exceptions: BTreeMap::new(),
            outputs: outputs.collect(),
        }
    }

    #[test]
    fn program_runs_without_a_model_at_any_length() {
        let automaton = twice();
        let marked = |symbols: &[u32]| [&[6], symbols, &[9]].concat();
        for n in [0, 2, 5, 300] {
            let symbols: Vec<u32> = (0..n).map(|i| 7 + i % 2).collect();
            let expected = [&symbols[..], &symbols].concat();
            assert_eq!(
                automaton.run(&marked(&symbols), 1000),
                Some(expected),
                "{n}"
            );
        }
        assert_eq!(automaton.run(&marked(&[7, 8]), 3), None, "it has not ended");
        assert_eq!(
            automaton.run(&marked(&[5, 8]), 100),
            None,
            "an unknown token"
        );
        assert_eq!(automaton.run(&[], 100), None);
    }

    #[test]
    fn moves_have_the_order_of_the_taps_and_stay_within_the_source() {
        let names: Vec<String> = (0..9)
            .map(|index| HeadMove::of_index(index, 1).to_string())
            .collect();
        let expected = [
            "-1", "stay", "+1", "first-1", "first", "first+1", "last-1", "last", "last+1",
        ];
        assert_eq!(names, expected);
        let ends: Vec<usize> = (0..9)
            .map(|index| HeadMove::of_index(index, 1).apply(2, 4))
            .collect();
        assert_eq!(ends, [1, 2, 3, 0, 0, 1, 2, 3, 3]);
    }

    #[test]
    fn the_most_frequent_choice_wins_and_the_first_of_several() {
        let mut votes = Votes::new();
        for choice in [3, 2, 3, 2, 1] {
            vote(&mut votes, "a", choice);
        }
        assert_eq!(winners(votes), BTreeMap::from([("a", 2)]));
    }
}

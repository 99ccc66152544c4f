//! A trained transducer, read as a program.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{Result, bail};

use crate::decode::argmax;
use crate::{Interventions, OutputLimit, Seq2Seq, TransducerConfig, trace};

/// The program of a trained transducer: its most frequent action for each state and head position.
///
/// Its choices are almost certain after training, or divided in a few ways that recur: between modes, and
/// between two positions of the head. These are the states of a finite automaton with a head on the source.
/// [`run`](Self::run) runs it without the model; if its outputs are those of the model, it says what the
/// model does at any length.
#[derive(Clone, Debug, PartialEq)]
pub struct Automaton {
    reach: usize,
    eos: u32,
    states: States,
    rules: BTreeMap<Condition, Rule>,
    /// Where the token under the head matters, too.
    exceptions: BTreeMap<(Condition, u32), Rule>,
    /// The token that each state outputs at each reading.
    outputs: BTreeMap<(usize, Reading), u32>,
}

/// Probabilities below it are not part of a divided choice, and mixtures whose probabilities are nowhere
/// further apart are the same.
const SHARE: f32 = 0.3;

/// States that differ, each the first of its kind.
#[derive(Clone, Debug, Default, PartialEq)]
struct States(Vec<State>);

#[derive(Clone, Debug, PartialEq)]
struct State {
    modes: Vec<f32>, // [K]
    /// From the head to its second position.
    second: Option<HeadMove>,
}

impl States {
    /// The state with these modes and this second position; a new one if there is none near.
    fn of(&mut self, modes: &[f32], second: Option<HeadMove>) -> usize {
        let near = |state: &State| {
            let mut differences = state.modes.iter().zip(modes).map(|(a, b)| (a - b).abs());
            state.second == second && differences.all(|difference| difference <= SHARE)
        };
        self.0.iter().position(near).unwrap_or_else(|| {
            self.0.push(State {
                modes: modes.to_vec(),
                second,
            });
            self.0.len() - 1
        })
    }
}

/// The tokens of the source at the head, and at its second position, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reading {
    /// At the head.
    pub token: u32,
    /// At its second position.
    pub second: Option<u32>,
}

/// The modes that a mixture consists of, the most probable first: `3`, `5/1`.
pub fn mixture_name(modes: &[f32]) -> String {
    let mut parts: Vec<usize> = (0..modes.len())
        .filter(|&mode| modes[mode] >= SHARE)
        .collect();
    parts.sort_by(|&a, &b| modes[b].total_cmp(&modes[a]));
    let parts: Vec<String> = parts.iter().map(usize::to_string).collect();
    parts.join("/")
}

/// What a choice depends on: the state, and where the head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// The state.
    pub state: usize,
    /// Positions from the first one to the head; `None` beyond the reach.
    pub from_first: Option<usize>,
    /// Positions from the head to the last one; `None` beyond the reach.
    pub to_last: Option<usize>,
}

/// What an automaton does at a [`Condition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The next state.
    pub state: usize,
    /// The move of the head.
    pub step: HeadMove,
}

/// A move of the head. It ends at the first or last position if it would leave the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeadMove {
    /// From where.
    pub place: MoveOrigin,
    /// How far, towards the end.
    pub distance: isize,
}

/// Where a move starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MoveOrigin {
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
            place: [MoveOrigin::Head, MoveOrigin::First, MoveOrigin::Last][index / distances],
            distance: (index % distances) as isize - reach as isize,
        }
    }

    /// The move from `position` to `other` on a source of `length` positions; from an end, if that is near.
    fn between(position: usize, other: usize, length: usize, reach: usize) -> Option<Self> {
        let starts = [
            (MoveOrigin::Last, length - 1),
            (MoveOrigin::First, 0),
            (MoveOrigin::Head, position),
        ];
        let mut moves = starts.into_iter().map(|(place, start)| Self {
            place,
            distance: other as isize - start as isize,
        });
        moves.find(|step| step.distance.unsigned_abs() <= reach)
    }

    /// Where the head goes from `position` on a source of `length` positions, at least 1.
    pub fn apply(self, position: usize, length: usize) -> usize {
        let start = match self.place {
            MoveOrigin::Head => position,
            MoveOrigin::First => 0,
            MoveOrigin::Last => length - 1,
        };
        start.saturating_add_signed(self.distance).min(length - 1)
    }
}

impl fmt::Display for HeadMove {
    /// `+1`, `first+2`, `last-1`, `stay`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            MoveOrigin::Head if self.distance == 0 => return f.write_str("stay"),
            MoveOrigin::Head => "",
            MoveOrigin::First => "first",
            MoveOrigin::Last => "last",
        };
        match self.distance {
            0 => f.write_str(place),
            distance => write!(f, "{place}{distance:+}"),
        }
    }
}

/// One step of a transducer, its most probable choices read as certain.
#[derive(Clone, Debug, PartialEq)]
pub struct AutomatonStep {
    /// The modes as probabilities, `[K]`.
    pub modes: Vec<f32>,
    /// The last move: the most probable one to the position.
    pub step: HeadMove,
    /// The most probable position of the head after it.
    pub position: usize,
    /// Another position with a probability of at least 0.3.
    pub second: Option<usize>,
    /// The token that is output there.
    pub token: u32,
    /// The smaller of two probabilities: of this position, and of this token.
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
    let mut before = 0;
    let steps = steps.into_iter().map(|mut step| {
        let position = argmax(&step.weights) as usize;
        let of_token = step.probabilities[step.token as usize];
        let moves = &step.controls["kernel"];
        let move_of = |index| HeadMove::of_index(index, reach);
        let arrives = |index: &usize| move_of(*index).apply(before, source.len()) == position;
        let likeliest = (0..moves.len())
            .filter(arrives)
            .max_by(|&a, &b| moves[a].total_cmp(&moves[b]).then(b.cmp(&a)));
        let chosen = move_of(likeliest.unwrap_or(argmax(moves) as usize));
        before = position;
        AutomatonStep {
            step: chosen,
            position,
            second: second(&step.weights, position),
            token: step.token,
            certainty: step.weights[position].min(of_token),
            modes: step.controls.remove("mode").unwrap_or_default(),
            head: step.weights,
        }
    });
    Ok(steps.collect())
}

/// The most probable position apart from `first`, if it has a share.
fn second(head: &[f32], first: usize) -> Option<usize> {
    let others = (0..head.len()).filter(|&other| other != first && head[other] >= SHARE);
    others.max_by(|&a, &b| head[a].total_cmp(&head[b]).then(b.cmp(&a)))
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
        let (mut outputs, mut states) = (Votes::new(), States::default());
        for source in sources {
            let (mut state, mut position) = (None, 0);
            for step in automaton_steps(model, source, limit)? {
                // All begin in mode 0.
                let before = state.unwrap_or_else(|| {
                    let first: Vec<f32> = (0..step.modes.len())
                        .map(|mode| f32::from(mode == 0))
                        .collect();
                    states.of(&first, None)
                });
                let condition = Condition::new(before, position, source.len(), reach);
                let second = step.second.and_then(|second| {
                    HeadMove::between(step.position, second, source.len(), reach)
                });
                let next = states.of(&step.modes, second);
                let rule = Rule {
                    state: next,
                    step: step.step,
                };
                vote(&mut rules, condition, rule);
                vote(&mut with_token, (condition, source[position]), rule);
                let reading = states.0[next].read(source, step.position);
                vote(&mut outputs, (next, reading), step.token);
                (state, position) = (Some(next), step.position);
            }
        }
        let rules = winners(rules);
        let mut exceptions = winners(with_token);
        exceptions.retain(|(condition, _), rule| rules.get(condition) != Some(rule));
        Ok(Self {
            reach,
            eos: model.tokens().eos,
            states,
            rules,
            exceptions,
            outputs: winners(outputs),
        })
    }

    /// The name of each state, after its modes and the second position of its head: `3`, `5/1`, `5&last`. Of
    /// several states of the same name, the second is `5/1b`.
    pub fn state_names(&self) -> Vec<String> {
        let name = |state: &State| {
            let second = state.second.map(|second| format!("&{second}"));
            mixture_name(&state.modes) + &second.unwrap_or_default()
        };
        let names: Vec<String> = self.states.0.iter().map(name).collect();
        let name = |state: usize| {
            let earlier = names[..state].iter().filter(|name| **name == names[state]);
            match earlier.count() {
                0 => names[state].clone(),
                n => format!("{}{}", names[state], char::from(b'a' + n.min(25) as u8)),
            }
        };
        (0..names.len()).map(name).collect()
    }

    /// What it does at each condition that occurred, by state and then from the first position to the last.
    pub fn rules(&self) -> impl Iterator<Item = (Condition, Rule)> {
        self.rules
            .iter()
            .map(|(condition, rule)| (*condition, *rule))
    }

    /// What it does instead at tokens that matter, in the same order.
    pub fn exceptions(&self) -> impl Iterator<Item = ((Condition, u32), Rule)> {
        self.exceptions.iter().map(|(at, rule)| (*at, *rule))
    }

    /// The token that each state outputs at each reading.
    pub fn outputs(&self) -> impl Iterator<Item = ((usize, Reading), u32)> {
        self.outputs.iter().map(|(at, token)| (*at, *token))
    }

    /// The output for a source, without EOS: the program alone, without the model. `None` if it comes to a
    /// condition that never occurred, or has not ended after `limit` tokens.
    pub fn run(&self, source: &[u32], limit: usize) -> Option<Vec<u32>> {
        let (mut state, mut position, mut said) = (0, 0, Vec::new());
        for _ in 0..limit {
            let condition = Condition::new(state, position, source.len(), self.reach);
            let exception = self.exceptions.get(&(condition, *source.get(position)?));
            let rule = exception.or(self.rules.get(&condition))?;
            state = rule.state;
            position = rule.step.apply(position, source.len());
            let reading = self.states.0[state].read(source, position);
            let token = *self.outputs.get(&(state, reading))?;
            if token == self.eos {
                return Some(said);
            }
            said.push(token);
        }
        None
    }
}

impl State {
    /// What it reads on a source that is not empty.
    fn read(&self, source: &[u32], position: usize) -> Reading {
        let second = self
            .second
            .map(|second| second.apply(position, source.len()));
        Reading {
            token: source[position],
            second: second.map(|second| source[second]),
        }
    }
}

impl Condition {
    fn new(state: usize, position: usize, length: usize, reach: usize) -> Self {
        let near = |distance: usize| (distance <= reach).then_some(distance);
        Self {
            state,
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

    /// A program that says its source twice: from the first symbol to the last, in state 1 and then in 2.
    fn twice() -> Automaton {
        let rule = |state, place, distance| Rule {
            state,
            step: HeadMove { place, distance },
        };
        let read = |token| Reading {
            token,
            second: None,
        };
        let mut rules = BTreeMap::new();
        for length in 2..8 {
            for position in 0..length {
                for state in 0..3 {
                    let condition = Condition::new(state, position, length, 1);
                    let rule = match (state, condition.to_last) {
                        (0, Some(1)) => rule(2, MoveOrigin::Head, 1),
                        (0, _) => rule(1, MoveOrigin::Head, 1),
                        (1, Some(1)) => rule(2, MoveOrigin::First, 1),
                        (state, _) => rule(state, MoveOrigin::Head, 1),
                    };
                    rules.insert(condition, rule);
                }
            }
        }
        let outputs = [7, 8, 9]
            .into_iter()
            .flat_map(|token| [1, 2].map(|state| ((state, read(token)), token)));
        let state = State {
            modes: Vec::new(),
            second: None,
        };
        Automaton {
            reach: 1,
            eos: 9,
            states: States(vec![state; 3]),
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
    fn mixtures_of_modes_that_recur_are_states_of_their_own() {
        let mut states = States::default();
        let mixtures = [
            [1.0, 0.0, 0.0],
            [0.0, 0.1, 0.9],
            [0.1, 0.5, 0.4],
            [0.2, 0.4, 0.4],
            [0.0, 0.75, 0.25],
            [0.9, 0.1, 0.0],
        ];
        let found = mixtures.map(|modes| states.of(&modes, None));
        assert_eq!(found, [0, 1, 2, 2, 2, 0]);
        assert_eq!(states.of(&[0.0, 0.7, 0.3], None), 2);
        assert_eq!(
            states.of(&[0.1, 0.35, 0.55], None),
            2,
            "the first that is near"
        );
        let last = HeadMove::between(1, 4, 5, 2);
        assert_eq!(states.of(&mixtures[0], last), 3);
        let automaton = Automaton { states, ..twice() };
        assert_eq!(automaton.state_names(), ["0", "2", "1/2", "0&last"]);
    }

    #[test]
    fn a_second_position_is_described_from_an_end_or_from_the_head() {
        let name = |from, to| HeadMove::between(from, to, 9, 2).map(|step| step.to_string());
        let found = [name(1, 8), name(7, 6), name(4, 1), name(4, 5), name(5, 4)];
        let expected = ["last", "last-2", "first+1", "+1", "-1"];
        assert_eq!(found, expected.map(|name| Some(name.to_owned())));
        assert_eq!(HeadMove::between(3, 10, 20, 2), None, "beyond the reach");
        assert_eq!(second(&[0.4, 0.0, 0.3, 0.3], 0), Some(2));
        assert_eq!(second(&[0.8, 0.2], 0), None);
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

//! The search: hypotheses as rows of a decoding.

use candle_core::Result;

use super::super::logits::{Normalizer, largest};
use super::super::{Decoded, Rows};
use super::{Beam, Stopping};
use crate::{Source, Tokens};

/// Searches for every source. The rows are the live hypotheses, source by source.
pub(crate) fn search(
    rows: &mut dyn Rows,
    tokens: Tokens,
    source: &Source,
    beam: &Beam,
    returns_attention: bool,
) -> Result<Vec<Vec<Decoded>>> {
    let (lengths, len) = (source.lengths(), source.max_len());
    let limit = |len: &usize| beam.constraints.stop.limit(*len);
    let mut searches: Vec<Search<'_>> = lengths
        .iter()
        .map(|len| Search::new(beam, tokens, limit(len)))
        .collect();
    rows.start(source)?;
    let started: Vec<usize> = (0..lengths.len())
        .filter(|index| !searches[*index].live.is_empty())
        .collect();
    if started.len() < lengths.len() {
        rows.keep(&started)?;
    }
    let mut fed = vec![tokens.bos; started.len()];
    while !fed.is_empty() {
        rows.step(source, &fed)?;
        let attention = returns_attention.then(|| rows.attention()).transpose()?;
        let (mut first, mut from) = (0, Vec::with_capacity(fed.len()));
        fed.clear();
        for (search, &length) in searches.iter_mut().zip(lengths) {
            let n_rows = search.live.len();
            if n_rows == 0 {
                continue;
            }
            if let Some(attention) = &attention {
                let weights = attention[first * len..][..n_rows * len].chunks_exact(len);
                let weights = weights.map(|weights| weights[..length].to_vec());
                search.weights.push(weights.collect());
            }
            let logits = &rows.logits()[first * tokens.size..][..n_rows * tokens.size];
            let parents = search.advance(logits);
            from.extend(parents.iter().map(|parent| first + parent));
            fed.extend(search.live.iter().map(|live| search.nodes[live.node].token));
            first += n_rows;
        }
        drop(attention);
        if !from.iter().copied().eq(0..first) {
            rows.keep(&from)?;
        }
    }
    Ok(searches.iter().map(Search::outputs).collect())
}

/// The search for one source.
#[derive(Debug)]
struct Search<'a> {
    beam: &'a Beam,
    tokens: Tokens,
    /// Maximum number of steps.
    limit: usize,
    /// Steps so far.
    step: usize,
    /// The tokens of all hypotheses that have survived a step.
    nodes: Vec<Node>,
    /// The attention weights of each row in each step, `[S]`; empty unless requested.
    weights: Vec<Vec<Vec<f32>>>,
    /// The hypotheses to continue, best first.
    live: Vec<Hypothesis>,
    /// The best outputs, best first.
    ended: Vec<Ended>,
    n_ended: usize,
}

/// A token of a hypothesis.
#[derive(Debug)]
struct Node {
    /// The node of the token before it, or [`ROOT`].
    parent: usize,
    /// The row of its step that it continues.
    row: usize,
    token: u32,
    log_prob: f32,
}

/// The node of a hypothesis without tokens.
const ROOT: usize = usize::MAX;

#[derive(Clone, Copy, Debug)]
struct Hypothesis {
    /// The last token.
    node: usize,
    /// The sum of the log-probabilities that tokens are chosen by.
    total: f64,
}

#[derive(Debug)]
struct Ended {
    node: usize,
    score: f64,
}

/// A continuation of a hypothesis.
#[derive(Debug)]
struct Candidate {
    node: Node,
    total: f64,
}

impl<'a> Search<'a> {
    fn new(beam: &'a Beam, tokens: Tokens, limit: usize) -> Self {
        let mut search = Self {
            beam,
            tokens,
            limit,
            step: 0,
            nodes: Vec::new(),
            weights: Vec::new(),
            live: Vec::new(),
            ended: Vec::new(),
            n_ended: 0,
        };
        let start = Hypothesis {
            node: ROOT,
            total: 0.0,
        };
        match limit {
            0 => search.end(start),
            _ => search.live.push(start),
        }
        search
    }

    /// Chooses the survivors of a step, from the logits `[rows, V]` of the live hypotheses. Returns the row
    /// that each of those which are live afterwards continues.
    fn advance(&mut self, logits: &[f32]) -> Vec<usize> {
        let before = std::mem::take(&mut self.live);
        let mut candidates = Vec::new();
        let rows = before.iter().zip(logits.chunks_exact(self.tokens.size));
        for (row, (&hypothesis, logits)) in rows.enumerate() {
            let n_before = candidates.len();
            self.propose(hypothesis, row, logits, &mut candidates);
            if candidates.len() == n_before {
                self.end(hypothesis); // the constraints exclude every token
            }
        }
        // Stable: of equal ones, the continuation of the better hypothesis comes first.
        candidates.sort_by(|a, b| b.total.total_cmp(&a.total));
        candidates.truncate(self.beam.width.get());
        self.step += 1;
        for Candidate { node, total } in candidates {
            let is_end = node.token == self.tokens.eos || self.step == self.limit;
            self.nodes.push(node);
            let hypothesis = Hypothesis {
                node: self.nodes.len() - 1,
                total,
            };
            match is_end {
                true => self.end(hypothesis),
                false => self.live.push(hypothesis),
            }
        }
        if self.is_decided() {
            self.live.clear();
        }
        let row_of = |live: &Hypothesis| self.nodes[live.node].row;
        self.live.iter().map(row_of).collect()
    }

    /// Adds the best continuations of a hypothesis.
    fn propose(
        &self,
        hypothesis: Hypothesis,
        row: usize,
        logits: &[f32],
        candidates: &mut Vec<Candidate>,
    ) {
        let constraints = &self.beam.constraints;
        let logits = constraints.stop.possible(logits, self.tokens.eos);
        let normalizer = Normalizer::of(&logits);
        let output = || self.path(hypothesis.node).map(|node| node.token).collect();
        let choice = constraints.choice(&logits, self.step, self.tokens, output);
        for token in largest(&choice.logits, self.beam.width.get()) {
            let at = token as usize;
            let log_prob = normalizer.log_prob(logits[at]);
            let node = Node {
                parent: hypothesis.node,
                row,
                token,
                log_prob: log_prob as f32,
            };
            let chosen_by = match choice.penalized {
                Some(normalizer) => normalizer.log_prob(choice.logits[at]),
                None => log_prob,
            };
            candidates.push(Candidate {
                node,
                total: hypothesis.total + chosen_by,
            });
        }
    }

    /// Adds an output.
    fn end(&mut self, hypothesis: Hypothesis) {
        let score = self.beam.length_penalty.score(hypothesis.total, self.step);
        let ended = Ended {
            node: hypothesis.node,
            score,
        };
        let place = self.ended.partition_point(|other| other.score >= score);
        self.ended.insert(place, ended);
        self.ended.truncate(self.beam.n_best.get());
        self.n_ended += 1;
    }

    /// Whether the search can end although hypotheses are left.
    fn is_decided(&self) -> bool {
        let Some(best) = self.live.first() else {
            return true;
        };
        match self.beam.stopping {
            Stopping::Heuristic => self.n_ended >= self.beam.width.get(),
            Stopping::Exact => {
                let penalty = self.beam.length_penalty;
                let bound = penalty.bound(best.total, self.step + 1, self.limit);
                let worst = self.ended.get(self.beam.n_best.get() - 1);
                worst.is_some_and(|worst| worst.score >= bound)
            }
        }
    }

    /// The tokens of a hypothesis.
    fn path(&self, node: usize) -> impl Iterator<Item = &Node> {
        let last = self.nodes.get(node);
        let path = std::iter::successors(last, |node| self.nodes.get(node.parent));
        let mut path: Vec<&Node> = path.collect();
        path.reverse();
        path.into_iter()
    }

    fn outputs(&self) -> Vec<Decoded> {
        let output = |ended: &Ended| {
            let mut output = Decoded::default();
            for (step, node) in self.path(ended.node).enumerate() {
                output.push(node.token, node.log_prob, self.tokens.eos);
                let weights = self.weights.get(step).map(|rows| rows[node.row].clone());
                output.weights.extend(weights);
            }
            output
        };
        self.ended.iter().map(output).collect()
    }
}

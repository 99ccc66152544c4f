//! The contests: a piece of work, done by s2s and by others.

/// A piece of work and those who do it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contest {
    pub(super) name: &'static str,
    pub(super) work: &'static str,
    pub(super) ours: Contestant,
    pub(super) rivals: &'static [Contestant],
    pub(super) clock: Clock,
    /// Factor on the number of iterations: short work needs more.
    pub(super) scale: usize,
}

/// The time that a contest compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// Processor time, pinned to one core.
    Cpu,
    /// Wall time, on all cores.
    Wall,
}

/// A process to measure, without its number of iterations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contestant {
    pub(super) name: &'static str,
    pub(super) program: Program,
    pub(super) args: &'static [&'static str],
    /// Arguments for other sizes than the notebook's.
    pub(super) sizes: &'static [&'static str],
}

impl Contestant {
    const fn with(self, sizes: &'static [&'static str]) -> Self {
        Self { sizes, ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    S2s,
    Torch,
    Jax,
}

const fn s2s(name: &'static str, args: &'static [&'static str]) -> Contestant {
    contestant(name, Program::S2s, args)
}

const fn torch(name: &'static str, args: &'static [&'static str]) -> Contestant {
    contestant(name, Program::Torch, args)
}

const fn jax(args: &'static [&'static str]) -> Contestant {
    contestant("JAX", Program::Jax, args)
}

const fn contestant(
    name: &'static str,
    program: Program,
    args: &'static [&'static str],
) -> Contestant {
    Contestant {
        name,
        program,
        args,
        sizes: &[],
    }
}

pub(super) const NOTEBOOK: &str = "--config=configs/notebook.toml";
/// Small sizes, for s2s and for its peers.
const SMALL: [&str; 6] = [
    "--set=model.embedding=32",
    "--set=model.hidden=64",
    "--set=model.decoder=128",
    "--set=model.layers=1",
    "--set=model.dropout=0",
    "--set=model.attention.units=64",
];
const SMALL_PEER: [&str; 1] = [
    r#"--config={"embedding":32,"hidden":64,"decoder":128,"layers":1,"attention":{"kind":"additive","units":64}}"#,
];

#[rustfmt::skip] // a few lines per contest
pub(super) const CONTESTS: [Contest; 8] = [
    Contest { name: "notebook-step", work: "training step, notebook sizes, batch 128", clock: Clock::Cpu, scale: 1,
        ours: s2s("fused", &["step", NOTEBOOK, "--threads=1"]),
        rivals: &[
            s2s("reference", &["step", NOTEBOOK, "--threads=1", "--set=model.kernels=reference"]),
            torch("PyTorch, literal", &["step", "--variant=literal"]),
            torch("PyTorch, tuned", &["step", "--variant=tuned"]),
            jax(&["step"]),
        ] },
    Contest { name: "small-step", work: "training step, small sizes, batch 32", clock: Clock::Cpu, scale: 10,
        ours: s2s("fused", &["step", NOTEBOOK, "--threads=1", "--batch=32"]).with(&SMALL),
        rivals: &[
            torch("PyTorch, tuned", &["step", "--batch=32"]).with(&SMALL_PEER),
            jax(&["step", "--batch=32"]).with(&SMALL_PEER),
        ] },
    Contest { name: "notebook-decode", work: "greedy decoding, notebook sizes, batch 256", clock: Clock::Cpu, scale: 1,
        ours: s2s("fused", &["decode", NOTEBOOK, "--threads=1", "--batch=256"]),
        rivals: &[
            torch("PyTorch, tuned", &["decode", "--batch=256"]),
            jax(&["decode", "--batch=256"]),
        ] },
    Contest { name: "notebook-one", work: "greedy decoding, notebook sizes, one sequence", clock: Clock::Cpu, scale: 10,
        ours: s2s("fused", &["decode", NOTEBOOK, "--threads=1", "--batch=1"]),
        rivals: &[
            torch("PyTorch, tuned", &["decode", "--batch=1"]),
            jax(&["decode", "--batch=1", "--transposed"]),
        ] },
    Contest { name: "small-one", work: "greedy decoding, small sizes, one sequence", clock: Clock::Cpu, scale: 10,
        ours: s2s("fused", &["decode", NOTEBOOK, "--threads=1", "--batch=1"]).with(&SMALL),
        rivals: &[
            torch("PyTorch, tuned", &["decode", "--batch=1"]).with(&SMALL_PEER),
            jax(&["decode", "--batch=1", "--transposed"]).with(&SMALL_PEER),
        ] },
    Contest { name: "notebook-beam", work: "beam search, width 5, notebook sizes, batch 64", clock: Clock::Cpu, scale: 1,
        ours: s2s("fused", &["beam", NOTEBOOK, "--threads=1", "--batch=64"]),
        rivals: &[
            s2s("greedy", &["decode", NOTEBOOK, "--threads=1", "--batch=64"]),
            torch("PyTorch, tuned", &["beam", "--batch=64"]),
            jax(&["beam", "--batch=64"]),
        ] },
    Contest { name: "notebook-sample", work: "sampling, notebook sizes, batch 64", clock: Clock::Cpu, scale: 1,
        ours: s2s("fused", &["sample", NOTEBOOK, "--threads=1", "--batch=64"]),
        rivals: &[
            torch("PyTorch, tuned", &["sample", "--batch=64"]),
            jax(&["sample", "--batch=64", "--transposed"]),
        ] },
    Contest { name: "threads", work: "training step, notebook sizes, two threads (wall time)", clock: Clock::Wall, scale: 1,
        ours: s2s("fused, 2 threads", &["step", NOTEBOOK, "--threads=2"]),
        rivals: &[s2s("fused, 1 thread", &["step", NOTEBOOK, "--threads=1"])] },
];

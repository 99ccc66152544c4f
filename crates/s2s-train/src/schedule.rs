//! Schedules over the steps of a run: learning rate and teacher-forcing ratio.

use serde::{Deserialize, Serialize};

use crate::config::{ForcingSchedule, ScheduleConfig, TeacherForcingConfig, TrainConfig};

/// State of a plateau schedule between evaluations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plateau {
    /// Factor on the peak learning rate.
    pub scale: f64,
    /// Evaluations since the best validation loss or the last reduction.
    pub n_stale: u64,
}

impl Default for Plateau {
    fn default() -> Self {
        Self {
            scale: 1.0,
            n_stale: 0,
        }
    }
}

impl Plateau {
    /// Whether this state is possible after `steps` steps.
    pub(crate) fn is_plausible(&self, steps: u64) -> bool {
        (0.0..=1.0).contains(&self.scale) && self.n_stale <= steps
    }

    /// Updates the state after an evaluation.
    pub fn observe(&mut self, schedule: &ScheduleConfig, is_best: bool) {
        let ScheduleConfig::Plateau { factor, patience } = schedule else {
            return;
        };
        self.n_stale = if is_best { 0 } else { self.n_stale + 1 };
        if self.n_stale >= patience.get() {
            self.scale *= factor.get();
            self.n_stale = 0;
        }
    }
}

/// The learning rate at `step` of `total`; steps count from 1.
pub(crate) fn learning_rate(config: &TrainConfig, plateau: &Plateau, step: u64, total: u64) -> f64 {
    let peak = config.learning_rate.get();
    let warmup = config.warmup_steps;
    if step <= warmup {
        return peak * step as f64 / warmup as f64;
    }
    match &config.schedule {
        ScheduleConfig::Constant {} => peak,
        ScheduleConfig::Cosine { floor, steps } => {
            let floor = floor.get();
            let end = if *steps == 0 { total } else { *steps };
            let done = (step - warmup) as f64 / end.saturating_sub(warmup).max(1) as f64;
            let half_cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
            peak * (floor + (1.0 - floor) * half_cosine)
        }
        ScheduleConfig::InverseSqrt {} => peak * (warmup.max(1) as f64 / step as f64).sqrt(),
        ScheduleConfig::Plateau { .. } => peak * plateau.scale,
    }
}

/// The probability of feeding the reference token at `step` of `total`; steps count from 1.
pub(crate) fn forcing_ratio(config: &TeacherForcingConfig, step: u64, total: u64) -> f64 {
    let (first, last) = (config.ratio.get(), config.final_ratio.get());
    let done = (step - 1) as f64;
    match config.schedule {
        ForcingSchedule::Constant => first,
        ForcingSchedule::Linear => {
            let steps = if config.steps == 0 {
                total
            } else {
                config.steps
            };
            first + (last - first) * (done / steps as f64).min(1.0)
        }
        ForcingSchedule::InverseSigmoid => {
            let k = config.k.get();
            last + (first - last) * k / (k + (done / k).exp())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> TrainConfig {
        toml::from_str(text).unwrap()
    }

    fn rates(config: &TrainConfig, steps: &[u64]) -> Vec<f64> {
        let rate = |step: &u64| learning_rate(config, &Plateau::default(), *step, 100);
        steps.iter().map(rate).collect()
    }

    #[test]
    fn the_rate_warms_up_linearly_then_decays_along_half_a_cosine() {
        let config = config(
            "learning_rate = 1.0\nwarmup_steps = 10\nschedule = { kind = \"cosine\", floor = 0.2 }",
        );
        let expected = [0.1, 1.0, 0.6, 0.2];
        for (rate, expected) in rates(&config, &[1, 10, 55, 100]).iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-12, "{rate} is not {expected}");
        }
    }

    #[test]
    fn the_rate_falls_with_the_root_of_the_steps_after_warm_up() {
        let config =
            config("learning_rate = 1.0\nwarmup_steps = 4\nschedule = { kind = \"inverse-sqrt\" }");
        assert_eq!(rates(&config, &[2, 4, 16, 64]), [0.5, 1.0, 0.5, 0.25]);
    }

    #[test]
    fn a_plateau_reduces_the_rate_after_its_patience_and_restarts_the_count() {
        let config = config("schedule = { kind = \"plateau\", factor = 0.5, patience = 2 }");
        let mut plateau = Plateau::default();
        let scales: Vec<f64> = [true, false, true, false, false, false, false]
            .into_iter()
            .map(|is_best| {
                plateau.observe(&config.schedule, is_best);
                plateau.scale
            })
            .collect();
        assert_eq!(scales, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25]);
    }

    #[test]
    fn the_forcing_ratio_follows_its_schedule() {
        let forcing = |text: &str| -> TeacherForcingConfig { toml::from_str(text).unwrap() };
        let constant = forcing("ratio = 0.3");
        assert_eq!(forcing_ratio(&constant, 77, 100), 0.3);

        let linear = forcing("schedule = \"linear\"\nratio = 1.0\nfinal_ratio = 0.5\nsteps = 10");
        let ratios = [1, 6, 11, 50].map(|step| forcing_ratio(&linear, step, 100));
        assert_eq!(ratios, [1.0, 0.75, 0.5, 0.5]);

        let sigmoid = forcing("schedule = \"inverse-sigmoid\"\nratio = 1.0\nk = 10.0");
        let half_way = 1 + (10.0 * 10.0_f64.ln()).round() as u64;
        assert!((forcing_ratio(&sigmoid, half_way, 100) - 0.5).abs() < 0.01);
        assert!(forcing_ratio(&sigmoid, 1, 100) > 0.9);
        assert!(forcing_ratio(&sigmoid, 1000, 1000) < 1e-9);
    }
}

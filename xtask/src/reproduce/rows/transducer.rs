//! Tables of the transducer's experiments.

use anyhow::{Context, Result, bail};
use s2s_lab::Report;

use super::{
    at_lengths, evaluated, exact, exact_runs, grouped, of_group, restarted, runs, secs, share,
};
use crate::docs::Table;

pub(in crate::reproduce) fn transducer(report: &Report, mut table: Table) -> Result<Table> {
    table.rows.clear();
    for cell in &report.plan.experiment.cells {
        let runs = runs(report, &cell.name)?;
        let [beyond, far] = ["beyond", "far"].map(|group| of_group(&runs, group, exact));
        let worst: Vec<f64> = beyond.iter().zip(&far).map(|(a, b)| a.min(*b)).collect();
        table.rows.push(vec![
            cell.name.clone(),
            share(&beyond),
            share(&far),
            exact_runs(&worst),
            restarted(&runs),
            secs(&runs),
        ]);
    }
    Ok(table)
}

/// One row for each task, three columns for each number of symbols.
pub(in crate::reproduce) fn symbols(report: &Report, mut table: Table) -> Result<Table> {
    table.header = vec!["task".to_owned()];
    table.rows.clear();
    for cell in &report.plan.experiment.cells {
        let (symbols, task) = cell.name.split_once('-').context("a cell has no task")?;
        let column = format!("{symbols} symbols: exact at 40 to 1,000");
        if !table.header.contains(&column) {
            let more = ["exact seeds", "training, s"].map(str::to_owned);
            table.header.extend([column].into_iter().chain(more));
        }
        let runs = runs(report, &cell.name)?;
        let beyond = of_group(&runs, "beyond", exact);
        let found = [share(&beyond), exact_runs(&beyond), secs(&runs)];
        match table.rows.iter_mut().find(|row| row[0] == task) {
            Some(row) => row.extend(found),
            None => {
                let row = [task.to_owned()].into_iter().chain(found);
                table.rows.push(row.collect());
            }
        }
    }
    table.align = format!("l{}", "r".repeat(table.header.len() - 1));
    Ok(table)
}

/// One row for each task, one column for each length.
pub(in crate::reproduce) fn further(report: &Report, mut table: Table) -> Result<Table> {
    table.header = vec!["task".to_owned()];
    table.rows.clear();
    for cell in &report.plan.experiment.cells {
        let found = at_lengths(report, &cell.name, "beyond")?;
        if table.header.len() == 1 {
            let lengths = found.iter().map(|(length, _)| grouped(*length as u64));
            table.header.extend(lengths);
            table
                .header
                .extend(["restarted", "training, s"].map(str::to_owned));
        }
        let runs = runs(report, &cell.name)?;
        let mut row = vec![cell.name.clone()];
        row.extend(found.into_iter().map(|(_, text)| text));
        row.extend([restarted(&runs), secs(&runs)]);
        table.rows.push(row);
    }
    table.align = format!("l{}", "r".repeat(table.header.len() - 1));
    Ok(table)
}

/// One row for each recipe, one column for each task: how many runs are exact in range and far beyond, and
/// how many restarted.
pub(in crate::reproduce) fn ablations(report: &Report, mut table: Table) -> Result<Table> {
    table.header = vec!["recipe".to_owned()];
    table.rows.clear();
    for cell in &report.plan.experiment.cells {
        let [recipe, task] = &cell.values[..] else {
            bail!("{} is not of two axes", cell.name);
        };
        let runs = runs(report, &cell.name)?;
        let exact_at = |length: usize| {
            let rows = runs.iter().flat_map(|run| evaluated(run, "beyond"));
            let rows = rows.filter(|row| row.length == length);
            rows.filter(|row| row.exact_match == 1.0).count()
        };
        let found = [40, 80, 1000].map(|length| exact_at(length).to_string());
        let found = format!("{} ({})", found.join(" · "), restarted(&runs));
        let column = position_of(&mut table.header, task);
        let recipe = recipe.replace('-', " ");
        let row = match table.rows.iter().position(|row| row[0] == recipe) {
            Some(row) => row,
            None => {
                table.rows.push(vec![recipe]);
                table.rows.len() - 1
            }
        };
        let row = &mut table.rows[row];
        row.resize(row.len().max(column + 1), String::new());
        row[column] = found;
    }
    let n_columns = table.header.len();
    for row in &mut table.rows {
        row.resize(n_columns, String::new()); // a recipe without a task
    }
    table.align = format!("l{}", "r".repeat(n_columns - 1));
    Ok(table)
}

/// The position of a title, which is added if it is new.
fn position_of(header: &mut Vec<String>, title: &str) -> usize {
    match header.iter().position(|known| known == title) {
        Some(position) => position,
        None => {
            header.push(title.to_owned());
            header.len() - 1
        }
    }
}

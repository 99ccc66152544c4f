//! Tables that are built row by row.

use s2s_viz::Table;

/// A table with these column names and rows.
pub(super) fn table<const N: usize>(
    names: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Table {
    let mut columns: [Vec<String>; N] = std::array::from_fn(|_| Vec::new());
    for row in rows {
        for (column, cell) in columns.iter_mut().zip(row) {
            column.push(cell);
        }
    }
    let add = |table: Table, (name, column)| table.column(name, column);
    names.into_iter().zip(columns).fold(Table::new(), add)
}

//! A table of pairs in one file, and its division into splits.

use std::cell::Cell;
use std::sync::Arc;

use csv::{ByteRecord, ReaderBuilder};
use memchr::memchr_iter;

use super::pairs::{Field, Row, Splits};
use super::{Pairs, TextFile};
use crate::{DataConfig, Error, LineProblem, Split};

/// The columns of source and target.
#[derive(Clone, Copy, Debug)]
struct Columns([usize; 2]);

/// The format of a table, chosen by the extension of its file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// Fields separated by tabs, without quoting: a field is the text between two tabs.
    Tsv,
    /// RFC 4180: fields separated by commas, quoted where necessary. The first row is the header.
    Csv,
}

impl Pairs {
    /// Divides the pairs of a table into train, val and test by the hash of their source, so that equal
    /// sources never fall in two splits.
    ///
    /// # Errors
    /// If the table has no rows or too many, lacks a column, or has a field that [`Pairs::parallel`]
    /// would reject as a line; or if a split is empty.
    pub fn split_table(file: &TextFile, config: &DataConfig) -> Result<[Self; 3], Error> {
        let splits = Splits::new([file; 2], config, |hash| split_of(hash, config));
        let splits = read_rows(file, config, splits)?;
        let n_read = |pairs: &Self| pairs.len() + pairs.n_dropped() as usize;
        let n_rows = splits.iter().map(n_read).sum();
        file.check_n_rows(n_rows)?;
        match Split::ALL
            .into_iter()
            .find(|split| n_read(&splits[*split as usize]) == 0)
        {
            None => Ok(splits),
            Some(split) => Err(Error::EmptySplit {
                path: file.path.clone(),
                split,
                n_rows,
            }),
        }
    }

    /// All pairs of a table.
    ///
    /// # Errors
    /// Those of [`split_table`](Self::split_table), except for empty splits.
    pub fn table(file: &TextFile, config: &DataConfig) -> Result<Self, Error> {
        let splits = Splits::new([file; 2], config, |_| Split::Test);
        let [.., pairs] = read_rows(file, config, splits)?;
        file.check_n_rows(pairs.len())?;
        Ok(pairs)
    }
}

/// The split of the pairs whose source has this hash.
fn split_of(hash: u64, config: &DataConfig) -> Split {
    let position = (hash >> 11) as f64 / (1u64 << 53) as f64;
    let [train, val, _] = config.split;
    match position {
        p if p < train => Split::Train,
        p if p < train + val => Split::Val,
        _ => Split::Test,
    }
}

/// The pairs of the rows of a table.
fn read_rows<F: Fn(u64) -> Split>(
    file: &TextFile,
    config: &DataConfig,
    splits: Splits<'_, F>,
) -> Result<[Pairs; 3], Error> {
    file.check_size()?;
    let n_columns = Cell::new(0);
    let mut splits = read_format(file, config, splits, &n_columns)?;
    if config.source_column.is_empty() && config.target_column.is_empty() {
        for pairs in &mut splits {
            pairs.n_columns = n_columns.get();
        }
    }
    Ok(splits)
}

/// The pairs, and the greatest number of fields of a row.
fn read_format<F: Fn(u64) -> Split>(
    file: &TextFile,
    config: &DataConfig,
    mut splits: Splits<'_, F>,
    n_columns: &Cell<usize>,
) -> Result<[Pairs; 3], Error> {
    match format(file) {
        Format::Tsv => {
            let mut lines = file.lines()?;
            let mut columns = Columns([0, 1]);
            let names = [&config.source_column, &config.target_column];
            if names.iter().any(|name| !name.is_empty())
                && let Some(header) = lines.next()
            {
                let (_, start, text) = header?;
                columns = Columns::named(file, config, fields(start, text))?;
            }
            splits.extend(lines.map(|line| {
                let (line, start, text) = line?;
                let sides = columns.pick(file, line, "tabs", fields(start, text), n_columns)?;
                Ok(Row { line, sides })
            }))?;
            Ok(splits.of_files())
        }
        Format::Csv => {
            let mut reader = ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .from_reader(file.content());
            let (mut record, mut columns) = (ByteRecord::new(), None);
            // The fields of all pairs without quotes.
            let mut text = Vec::with_capacity(file.bytes.len()); // untouched memory costs nothing
            let failed = |error: csv::Error| {
                let line = error.position().map_or(0, csv::Position::line);
                let message = error.to_string();
                file.error(line, LineProblem::NotCsv { message })
            };
            while reader.read_byte_record(&mut record).map_err(failed)? {
                let line = record.position().map_or(0, csv::Position::line);
                let fields = record.iter().map(|field| {
                    let text = file.utf8(line, field)?;
                    Ok(Field { start: 0, text })
                });
                let fields: Vec<Field<'_>> = fields.collect::<Result<_, Error>>()?;
                match columns {
                    None => {
                        if let [field] = fields[..]
                            && field.text.contains(';')
                        {
                            return Err(file.error(line, LineProblem::Semicolons));
                        }
                        columns = Some(Columns::named(file, config, fields.into_iter())?);
                    }
                    Some(columns) => {
                        let fields = fields.into_iter();
                        let mut sides = columns.pick(file, line, "commas", fields, n_columns)?;
                        for field in &mut sides {
                            field.start = text.len();
                            text.extend(field.text.as_bytes());
                        }
                        splits.push([&text; 2], &[Row { line, sides }])?;
                    }
                }
            }
            let text = Arc::new(text);
            Ok(splits.of([text.clone(), text]))
        }
    }
}

/// The texts between the tabs of a line that starts at `line_start`.
fn fields(line_start: usize, line: &str) -> impl Iterator<Item = Field<'_>> {
    let ends = memchr_iter(b'\t', line.as_bytes()).chain([line.len()]);
    ends.scan(0, move |next, end| {
        let start = std::mem::replace(next, end + 1);
        Some(Field {
            start: line_start + start,
            text: &line[start..end],
        })
    })
}

/// CSV if the name ends with `.csv` or `.csv.gz`, else TSV.
fn format(file: &TextFile) -> Format {
    let name = file.path.to_string_lossy().to_lowercase();
    match name.strip_suffix(".gz").unwrap_or(&name).ends_with(".csv") {
        true => Format::Csv,
        false => Format::Tsv,
    }
}

impl Columns {
    /// The configured columns of a header; without a name, the first and the second column.
    fn named<'a>(
        file: &TextFile,
        config: &DataConfig,
        header: impl Iterator<Item = Field<'a>>,
    ) -> Result<Self, Error> {
        let header: Vec<&str> = header.map(|field| field.text.trim()).collect();
        let find = |name: &str, default: usize| match name {
            "" => Ok(default),
            name => header
                .iter()
                .position(|column| *column == name)
                .ok_or_else(|| Error::NoColumn {
                    path: file.path.clone(),
                    name: name.to_owned(),
                    header: header.iter().map(|column| (*column).to_owned()).collect(),
                }),
        };
        let columns = [
            find(&config.source_column, 0)?,
            find(&config.target_column, 1)?,
        ];
        Ok(Self(columns))
    }

    /// The two fields of a row. Keeps the greatest number of fields.
    fn pick<'a>(
        self,
        file: &TextFile,
        line: u64,
        separators: &'static str,
        fields: impl Iterator<Item = Field<'a>>,
        n_columns: &Cell<usize>,
    ) -> Result<[Field<'a>; 2], Error> {
        let (mut picked, mut n_fields) = ([None; 2], 0);
        for field in fields {
            for (slot, column) in picked.iter_mut().zip(self.0) {
                if n_fields == column {
                    *slot = Some(field);
                }
            }
            n_fields += 1;
        }
        n_columns.set(n_columns.get().max(n_fields));
        match picked {
            [Some(source), Some(target)] => Ok([source, target]),
            _ => {
                let expected = 1 + self.0[0].max(self.0[1]);
                let problem = LineProblem::Columns {
                    expected,
                    n_fields,
                    separators,
                };
                Err(file.error(line, problem))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn table(path: &str, text: &str, config: &DataConfig) -> Result<Vec<[String; 2]>, String> {
        let file = TextFile::new(path, text);
        let pairs = Pairs::table(&file, config).map_err(|error| error.to_string())?;
        let sides = [&pairs.sources, &pairs.targets];
        let rows = 0..pairs.len();
        Ok(rows
            .map(|row| sides.map(|lines| lines.text(row).to_owned()))
            .collect())
    }

    fn named(source: &str, target: &str) -> DataConfig {
        DataConfig {
            source_column: source.to_owned(),
            target_column: target.to_owned(),
            ..DataConfig::default()
        }
    }

    #[test]
    fn tabs_separate_fields_and_quotes_are_text() {
        let config = DataConfig::default();
        assert_eq!(
            table("p.tsv", "\u{feff}a b\t\"c\"\r\n\"\td\tignored\n", &config).unwrap(),
            [["a b", "\"c\""], ["\"", "d"]]
        );
        assert_eq!(
            table("p.tsv", "in\tid\tout\nx\t1\ty\n", &named("in", "out")).unwrap(),
            [["x", "y"]]
        );
        assert_eq!(
            table("p.tsv", "a\tb\nc\n", &config).unwrap_err(),
            "p.tsv, line 2: expected at least 2 fields separated by tabs, found 1"
        );
        assert_eq!(
            table("p.tsv", "a\tb\nc\t\n", &config).unwrap_err(),
            "p.tsv, line 2: the line is empty"
        );
    }

    #[test]
    fn csv_has_a_header_and_quoted_fields() {
        let text = "id,to,from\n1,\"y, z\",\"x \"\"q\"\"\"\n";
        assert_eq!(
            table("p.CSV.gz", text, &named("from", "to")).unwrap(),
            [["x \"q\"", "y, z"]]
        );
        assert_eq!(
            table("p.csv", text, &named("", "")).unwrap(),
            [["1", "y, z"]]
        );
        assert_eq!(
            table("p.csv", text, &named("form", "to")).unwrap_err(),
            "p.csv: no column \"form\" in the header; its columns are \"id\", \"to\", \"from\""
        );
        assert_eq!(
            table("p.csv", "a,b\n", &named("", "")).unwrap_err(),
            "p.csv has only a header"
        );
        assert_eq!(
            table("p.csv", "", &named("", "")).unwrap_err(),
            "p.csv has 0 lines, expected 1 to 10000000"
        );
        assert_eq!(
            table("p.csv", "from;to\na, b;c\n", &named("", "")).unwrap_err(),
            "p.csv, line 1: expected fields separated by commas, found semicolons"
        );
    }

    #[test]
    fn equal_sources_share_a_split_and_shares_are_as_configured() {
        let rows: String = (0..4000)
            .map(|i| format!("w{}  x\tt{i}\n", i / 2))
            .collect();
        let file = TextFile::new("p.tsv", rows);
        let split = |seed| {
            let config = DataConfig {
                split: [0.5, 0.25, 0.25],
                split_seed: seed,
                ..DataConfig::default()
            };
            Pairs::split_table(&file, &config).unwrap()
        };
        let splits = split(0);
        let sources = splits.each_ref().map(|pairs| {
            let sources = (0..pairs.len()).map(|row| pairs.sources.text(row).to_owned());
            sources.collect::<HashSet<String>>()
        });
        assert!(sources[0].is_disjoint(&sources[1]) && sources[0].is_disjoint(&sources[2]));
        assert!(sources[1].is_disjoint(&sources[2]));
        for (set, share) in sources.iter().zip([0.5, 0.25, 0.25]) {
            // Four standard deviations of 2,000 draws.
            assert!(
                (set.len() as f64 / 2000.0 - share).abs() < 0.045,
                "{}",
                set.len()
            );
        }
        let other = split(1);
        assert_ne!(other[0].len(), splits[0].len());
    }

    #[test]
    fn an_empty_split_is_an_error() {
        let file = TextFile::new("p.tsv", "a\tb\n");
        let error = Pairs::split_table(&file, &DataConfig::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("p.tsv: none of its 1 pairs falls in the"),
            "{error}"
        );
    }
}

//! A table of pairs in one file, and its division into splits.

use std::cell::Cell;
use std::sync::Arc;

use csv::{ByteRecord, ReaderBuilder};
use memchr::{memchr, memchr_iter};

use super::pairs::{Field, Row, Splits};
use super::{Pairs, TextFile};
use crate::{DataConfig, Error, LineProblem, Split};

/// The columns of source and target.
#[derive(Clone, Copy, Debug)]
struct Columns {
    positions: [usize; 2],
    are_named: bool,
}

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

/// Whether the columns of a table are chosen by their names.
fn has_names(config: &DataConfig) -> bool {
    !config.source_column.is_empty() || !config.target_column.is_empty()
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
    if !has_names(config) {
        for pairs in &mut splits {
            pairs.n_columns = n_columns.get();
        }
    }
    Ok(splits)
}

/// The pairs, and the number of fields of a row.
fn read_format<F: Fn(u64) -> Split>(
    file: &TextFile,
    config: &DataConfig,
    mut splits: Splits<'_, F>,
    n_columns: &Cell<usize>,
) -> Result<[Pairs; 3], Error> {
    match format(file) {
        Format::Tsv => {
            let mut lines = file.lines()?;
            let mut columns = Columns {
                positions: [0, 1],
                are_named: has_names(config),
            };
            if columns.are_named
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
            let content = file.content();
            let failed = |error: csv::Error| {
                let line = error.position().map_or(0, csv::Position::line);
                let message = error.to_string();
                file.error(line, LineProblem::NotCsv { message })
            };
            while reader.read_byte_record(&mut record).map_err(failed)? {
                let start = record.position().expect("a record that was read has one");
                let end = reader.position().byte() as usize;
                let raw = RawRow::new(content, start, end);
                if raw.is_after_empty_line {
                    return Err(file.error(raw.line - 1, LineProblem::Empty));
                }
                let line = raw.line;
                if let Some(line) = raw.unclosed_quote() {
                    return Err(file.error(line, LineProblem::Quote));
                }
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
                        n_columns.set(fields.len());
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

/// A row of CSV as it is in the file.
struct RawRow<'a> {
    /// The bytes of the row and its end.
    bytes: &'a [u8],
    /// The number of its first line, from 1.
    line: u64,
    is_after_empty_line: bool,
}

impl<'a> RawRow<'a> {
    /// The row that the reader found between two positions: it skips line ends before a row.
    fn new(content: &'a [u8], start: &csv::Position, end: usize) -> Self {
        let before = start.byte() as usize;
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let n_skipped = content[before..end]
            .iter()
            .take_while(|byte| is_end(byte))
            .count();
        let skipped = &content[before..before + n_skipped];
        let rest_of_end =
            usize::from(before > 0 && content[before - 1] == b'\r' && skipped.starts_with(b"\n"));
        Self {
            bytes: &content[before + n_skipped..end],
            line: start.line() + memchr_iter(b'\n', skipped).count() as u64,
            is_after_empty_line: n_skipped > rest_of_end,
        }
    }

    /// The line of a quote that opens a field and that none at the end of a field closes.
    fn unclosed_quote(&self) -> Option<u64> {
        let bytes = self.bytes;
        memchr(b'"', bytes)?;
        let (mut at, mut is_field_start) = (0, true);
        while at < bytes.len() {
            if is_field_start && bytes[at] == b'"' {
                let end = end_of_quoted(&bytes[at..]).map(|len| at + len);
                match end.filter(|&end| matches!(bytes.get(end), None | Some(b',' | b'\n' | b'\r')))
                {
                    Some(end) => at = end,
                    None => {
                        return Some(self.line + memchr_iter(b'\n', &bytes[..at]).count() as u64);
                    }
                }
            }
            is_field_start = bytes.get(at) == Some(&b',');
            at += 1;
        }
        None
    }
}

/// The length of a quoted field that begins here, with its quotes, if it is closed.
fn end_of_quoted(field: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr(b'"', field.get(at..)?)? + 1;
        if field.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1; // a doubled quote stands for one
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
        Ok(Self {
            positions: [
                find(&config.source_column, 0)?,
                find(&config.target_column, 1)?,
            ],
            are_named: has_names(config),
        })
    }

    /// The two fields of a row. If the columns have no names, each row must have as many fields as the first.
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
            for (slot, column) in picked.iter_mut().zip(self.positions) {
                if n_fields == column {
                    *slot = Some(field);
                }
            }
            n_fields += 1;
        }
        let expected = n_columns.replace(n_fields);
        match picked {
            [Some(_), Some(_)] if !self.are_named && expected != 0 && n_fields != expected => {
                let problem = LineProblem::Ragged {
                    expected,
                    n_fields,
                    separators,
                };
                Err(file.error(line, problem))
            }
            [Some(source), Some(target)] => Ok([source, target]),
            _ => {
                let [source, target] = self.positions;
                let expected = 1 + source.max(target);
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
            table(
                "p.tsv",
                "\u{feff}a b\t\"c\"\tignored\r\n\"\td\ttoo\n",
                &config
            )
            .unwrap(),
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
    fn a_row_with_another_number_of_fields_is_an_error_unless_columns_have_names() {
        let more = "in\tout\na\tb\nc\td\te\n";
        assert_eq!(
            table("p.tsv", more, &DataConfig::default()).unwrap_err(),
            "p.tsv, line 3: expected 2 fields separated by tabs, as in the first row, found 3"
        );
        assert_eq!(
            table("p.tsv", more, &named("in", "out")).unwrap(),
            [["a", "b"], ["c", "d"]]
        );
        assert_eq!(
            table("p.csv", "in,out\na,b\nc,d,e\n", &DataConfig::default()).unwrap_err(),
            "p.csv, line 3: expected 2 fields separated by commas, as in the first row, found 3"
        );
    }

    #[test]
    fn a_quote_that_closes_no_field_is_an_error_on_the_line_where_it_opens() {
        let config = DataConfig::default();
        let rows = table(
            "p.csv",
            "in,out\n\"a\n\"\"b\"\"\",\"c, d\"\ne\"f,\n",
            &config,
        );
        assert_eq!(rows.unwrap_err(), "p.csv, line 4: the line is empty");
        let rows = table(
            "p.csv",
            "in,out\r\n\"a\r\n\"\"b\"\"\",\"c, d\"\r\ne\"f,g",
            &config,
        );
        assert_eq!(rows.unwrap(), [["a\r\n\"b\"", "c, d"], ["e\"f", "g"]]);
        let problem = "a quoted field begins here, but no quote before a comma or the end of a line closes it";
        for (text, line) in [
            ("in,out\na,b\nc,\"d\ne,f\ng,h\n", 3),
            ("in,out\na,b\nc,\"d\ne,\"f\"\ng,h\n", 3),
            ("in,out\n\"a\nb\",\"c", 3),
            ("in,out\n\"a,b\n", 2),
            ("in,out\na,\"b\"c\n", 2),
        ] {
            for text in [text.to_owned(), text.replace('\n', "\r\n")] {
                let error = table("p.csv", &text, &config).unwrap_err();
                assert_eq!(error, format!("p.csv, line {line}: {problem}"), "{text:?}");
            }
        }
    }

    #[test]
    fn errors_in_csv_name_their_line_whatever_its_end() {
        let config = DataConfig::default();
        for end in ["\n", "\r\n"] {
            let error = |lines: [&str; 4]| table("p.csv", &lines.join(end), &config).unwrap_err();
            assert!(
                error(["in,out", "a,b", "c", "d,e"])
                    .starts_with("p.csv, line 3: expected at least 2")
            );
            assert!(
                error(["in,out", "a,b", "", "d,e"]).starts_with("p.csv, line 3: the line is empty")
            );
            assert!(
                error(["in,out", "\"a", "x\",b", "c"])
                    .starts_with("p.csv, line 4: expected at least")
            );
        }
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

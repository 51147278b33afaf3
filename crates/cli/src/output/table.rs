//! Columns for people: no lines, no colours, two blanks between.

use std::fmt;

use comfy_table::presets::NOTHING;

/// A table that is filled row by row.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    pub(crate) fn new(columns: &[&str]) -> Table {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        table.set_header(columns.iter().copied());
        Table(table)
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.0.add_row(cells.into_iter().map(|cell| match cell.is_empty() {
            true => "-".to_owned(),
            false => cell,
        }));
    }
}

impl fmt::Display for Table {
    /// Without the blanks that the table itself puts around each line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.lines() {
            let line = line.strip_prefix(' ').unwrap_or(&line).trim_end();
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_columns() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.row(vec!["etl/1".into(), "running".into()]);
        table.row(vec!["a-long-name/12".into(), String::new()]);
        let expected = "NAME            STATUS\netl/1           running\na-long-name/12  -\n";
        assert_eq!(table.to_string(), expected);
    }
}

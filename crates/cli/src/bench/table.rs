//! Small tables of figures.

use comfy_table::{CellAlignment, Table, presets};

/// A table whose first column is text and whose other columns are figures.
pub(super) struct Figures(Table);

impl Figures {
    pub(super) fn new(header: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(header.to_vec());
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        Figures(table)
    }

    pub(super) fn row(&mut self, cells: &[String]) {
        self.0.add_row(cells.to_vec());
    }

    pub(super) fn print(&self) {
        anstream::println!("{}", self.0);
    }
}

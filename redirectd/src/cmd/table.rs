//! Aligned tables with colours.

use std::fmt;

use anstream::println;
use anstyle::Style;

use super::output::{BOLD, GOOD, PLAIN, WARN};
use crate::dataplane::State;

/// One field of a table.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    style: Style,
    right: bool,
}

/// Text as it is.
pub(super) fn text(text: impl ToString) -> Cell {
    Cell { text: text.to_string(), style: PLAIN, right: false }
}

/// A number, to the right.
pub(super) fn number(text: impl ToString) -> Cell {
    Cell { text: text.to_string(), style: PLAIN, right: true }
}

impl Cell {
    /// Its text, without colour.
    pub(super) fn plain(&self) -> &str {
        &self.text
    }

    /// The same, in `style`.
    pub(super) fn style(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

/// A state, in the colour it deserves.
pub(super) fn state(state: State) -> Cell {
    match state {
        State::Active => text("active").style(GOOD),
        State::Draining => text("draining").style(WARN),
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{0}{1}{0:#}", self.style, self.text)
    }
}

/// Rows under a header, each column as wide as its widest field.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns.
    pub(super) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|&name| text(name).style(BOLD)).collect()] }
    }

    /// One more row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints it.
    pub(super) fn print(&self) {
        for line in self.lines() {
            println!("{line}");
        }
    }

    /// Its lines, with colours.
    pub(super) fn lines(&self) -> Vec<String> {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(move |row| row.get(column))
                .map(|cell| cell.text.chars().count())
        };
        let widths: Vec<usize> = (0..columns).map(|c| width(c).max().unwrap_or(0)).collect();
        // Headers stand over their numbers: to the right if the column does.
        let right: Vec<bool> =
            (0..columns).map(|c| self.rows.get(1).is_some_and(|row| row[c].right)).collect();
        let line = |row: &Vec<Cell>| {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column] - cell.text.chars().count());
                let (before, after) = if right[column] { (&*padding, "") } else { ("", &*padding) };
                let style = cell.style;
                line.push_str(&format!("{before}{style}{}{style:#}{after}  ", cell.text));
            }
            line.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_whatever_their_colour() {
        let mut table = Table::new(&["NAME", "N"]);
        table.row([text("web").style(GOOD), number(7)]);
        table.row([text("mail-server"), number(1_234)]);
        let plain: Vec<String> = table
            .lines()
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        assert_eq!(plain, ["NAME            N", "web             7", "mail-server  1234"]);
    }
}

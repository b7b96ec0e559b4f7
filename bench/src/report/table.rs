//! Tables in plain text.

/// Rows of cells under a heading; the first column is aligned left, the others
/// right.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

/// The widest line, in characters, unless one cell alone makes it wider.
pub(crate) const WIDTH: usize = 110;

impl Table {
    /// With these column titles.
    pub(crate) fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(|&title| title.to_owned()).collect()] }
    }

    /// Adds a row, of as many cells as there are titles.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table, each line ended. What does not fit in [`WIDTH`] follows below,
    /// with the first column again.
    pub(crate) fn text(&self) -> String {
        self.split(WIDTH)
    }

    /// The table with each row on one line, however wide.
    pub(crate) fn in_one_piece(&self) -> String {
        self.split(usize::MAX)
    }

    fn split(&self, most: usize) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let parts = parts(&widths, most);
        let text =
            |part: &Vec<usize>| self.rows.iter().map(|row| line(row, part, &widths)).collect();
        parts.iter().map(text).collect::<Vec<String>>().join("\n")
    }
}

/// The columns beside the first, in groups that fit.
fn parts(widths: &[usize], most: usize) -> Vec<Vec<usize>> {
    let mut parts = vec![Vec::new()];
    let mut used = widths[0];
    for (column, width) in widths.iter().enumerate().skip(1) {
        used += 2 + width;
        if used > most && parts.last().is_some_and(|part: &Vec<usize>| !part.is_empty()) {
            parts.push(Vec::new());
            used = widths[0] + 2 + width;
        }
        parts.last_mut().expect("there is one").push(column);
    }
    parts
}

fn line(row: &[String], columns: &[usize], widths: &[usize]) -> String {
    let mut line = format!("{:<1$}", row[0], widths[0]);
    for &column in columns {
        line += &format!("  {:>1$}", row[column], widths[column]);
    }
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["who", "×"]);
        table.row(vec!["x".into(), "1.50".into()]);
        assert_eq!(table.text(), "who     ×\nx    1.50\n");
    }

    #[test]
    fn what_does_not_fit_follows_below() {
        let wide = "w".repeat(60);
        let mut table = Table::new(&["who", &wide, &wide]);
        table.row(vec!["x".into(), "1".into(), "2".into()]);
        let text = table.text();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        let firsts: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(firsts, ["who", "x", "", "who", "x"]);
        assert_eq!(table.in_one_piece().lines().count(), 2);
    }
}

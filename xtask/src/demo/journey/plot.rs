//! A bar chart on a terminal: time from left to right, milliseconds upwards.

/// How many columns of bars there are. With the scale beside them, the chart fits
/// on a terminal of 80.
const COLUMNS: usize = 66;
/// How many rows of bars there are.
const ROWS: usize = 8;
/// Parts of a character's height, from none to all.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Where the scale may end, times a power of ten.
const ENDS: [f64; 8] = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0];

/// What is shown.
pub(super) struct Plot<'a> {
    /// Seconds that the time axis is long; more than 0.
    pub(super) seconds: f64,
    /// When, in seconds, and how many milliseconds.
    pub(super) points: &'a [(f64, f64)],
    /// When, in seconds, and what it was that happened then.
    pub(super) marks: &'a [(f64, &'a str)],
}

impl Plot<'_> {
    /// The lines of the chart, from the top: bars, time axis, and marks.
    ///
    /// Each column shows the largest of its points.
    pub(super) fn lines(&self) -> Vec<String> {
        let largest = self.largest();
        let top = end(largest.iter().copied().fold(0.0, f64::max));
        let bars: Vec<usize> = largest.iter().map(|&value| eighths(value, top)).collect();
        let mut lines: Vec<String> = (0..ROWS).rev().map(|row| bar_row(row, &bars, top)).collect();
        lines.push(format!("      0 ┴{}", "─".repeat(COLUMNS)));
        lines.push(row_of(&self.times()));
        let mark = |&(at, mark): &(f64, &str)| (self.column(at), format!("▲ {mark}"));
        lines.push(row_of(&self.marks.iter().map(mark).collect::<Vec<_>>()));
        lines
    }

    /// The largest point of each column, 0 where there is none.
    fn largest(&self) -> Vec<f64> {
        let mut largest = vec![0.0_f64; COLUMNS];
        for &(at, value) in self.points {
            let column = &mut largest[self.column(at)];
            *column = column.max(value);
        }
        largest
    }

    fn column(&self, at: f64) -> usize {
        let column = at / self.seconds * COLUMNS as f64;
        (column.max(0.0) as usize).min(COLUMNS - 1)
    }

    /// The labels of the time axis: some four to eight.
    fn times(&self) -> Vec<(usize, String)> {
        let step =
            [1, 2, 5, 10, 20, 50].into_iter().find(|step| self.seconds / 8.0 <= f64::from(*step));
        let step = step.unwrap_or(100);
        let times =
            (0..).map(|number| number * step).take_while(|&at| f64::from(at) <= self.seconds);
        times.map(|at: u32| (self.column(at.into()), format!("{at} s"))).collect()
    }
}

/// The end of a scale for values up to `largest`.
fn end(largest: f64) -> f64 {
    let ends = (0..).flat_map(|power| ENDS.map(|end| end * 10.0_f64.powi(power)));
    ends.take(8 * ENDS.len()).find(|&end| largest <= end).unwrap_or(largest)
}

/// How high a bar is; whatever is there is seen.
fn eighths(value: f64, top: f64) -> usize {
    let all = ROWS * 8;
    let height = (value / top * all as f64).round() as usize;
    height.clamp(usize::from(value > 0.0), all)
}

/// One row of bars, counted from below, with its place on the scale.
fn bar_row(row: usize, bars: &[usize], top: f64) -> String {
    let bars: String =
        bars.iter().map(|&height| EIGHTHS[height.saturating_sub(row * 8).min(8)]).collect();
    // The upper edges of the highest row and of the one below the middle.
    let scale = match row + 1 {
        ROWS => format!("{top} ms"),
        above if above * 2 == ROWS => format!("{}", top / 2.0),
        _ => String::new(),
    };
    format!("{scale:>7} │{bars}").trim_end().to_owned()
}

/// Texts at columns, or as near to the right of them as there is room.
fn row_of(texts: &[(usize, String)]) -> String {
    // As wide as the scale and its line.
    let margin = 9;
    let mut row = String::new();
    for (column, text) in texts {
        let taken = row.chars().count();
        let free = if taken == 0 { 0 } else { taken + 1 };
        let from = (margin + column).max(free);
        row.extend(std::iter::repeat_n(' ', from - taken));
        row.push_str(text);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_point_of_a_column_stands_over_its_mark() {
        let plot = Plot {
            seconds: 6.6,
            points: &[(0.0, 4.0), (3.3, 3.0), (3.31, 80.0), (3.32, 5.0)],
            marks: &[(3.31, "to c")],
        };
        let lines = plot.lines();
        assert_eq!(lines.len(), ROWS + 3);
        let at = |line: usize, column: usize| lines[line].chars().nth(9 + column);
        assert_eq!(lines[0], format!("  80 ms │{}█", " ".repeat(33)));
        assert_eq!(lines[4], format!("     40 │{}█", " ".repeat(33)));
        assert_eq!((at(7, 0), at(7, 1), at(7, 33)), (Some('▃'), Some(' '), Some('█')));
        assert_eq!(at(10, 33), Some('▲'));
        assert!(lines[10].ends_with("▲ to c"));
        let times: Vec<_> = lines[9].split_whitespace().collect();
        assert_eq!(times, ["0", "s", "1", "s", "2", "s", "3", "s", "4", "s", "5", "s", "6", "s"]);
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn a_scale_ends_at_a_round_number_above_all() {
        for (largest, round) in [(0.0, 1.0), (3.2, 4.0), (61.0, 80.0), (110.0, 150.0), (80.0, 80.0)]
        {
            assert_eq!(end(largest), round);
        }
    }

    #[test]
    fn texts_make_room_for_each_other() {
        let row = row_of(&[(0, "▲ to c".into()), (3, "▲ to d".into()), (20, "▲ home".into())]);
        assert_eq!(row, format!("{}▲ to c ▲ to d{}▲ home", " ".repeat(9), " ".repeat(7)));
    }

    #[test]
    fn nothing_is_an_empty_chart() {
        let lines = Plot { seconds: 1.0, points: &[], marks: &[] }.lines();
        assert!(lines[..ROWS].iter().all(|line| line.ends_with('│')), "{lines:#?}");
    }
}

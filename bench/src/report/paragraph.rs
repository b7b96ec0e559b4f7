//! Running text in lines of limited width.

use super::table::WIDTH;

/// `text` in lines of at most [`WIDTH`] characters, unless a word is longer.
pub(crate) fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > WIDTH {
            lines.push('\n');
            used = 0;
        }
        if used > 0 {
            lines.push(' ');
            used += 1;
        }
        lines += word;
        used += length;
    }
    lines + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_between_words() {
        let text = wrapped(&"four ".repeat(WIDTH));
        assert!(text.lines().all(|line| line.len() <= WIDTH && line.len() > WIDTH - 5), "{text}");
        assert_eq!(text.split_whitespace().count(), WIDTH);
    }
}

//! Placeholder main, replaced as the tasks arrive.
fn main() {}

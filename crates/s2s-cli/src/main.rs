//! The command line of s2s.

fn main() {}

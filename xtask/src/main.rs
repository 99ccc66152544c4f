//! Many runs, and the checks of the repository.

fn main() {}

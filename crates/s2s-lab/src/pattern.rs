//! Patterns of names.

/// Whether a name matches a pattern, in which `*` stands for any characters.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(start) else {
        return false;
    };
    let ends = (0..=name.len()).filter(|&end| name.is_char_boundary(end));
    ends.into_iter().any(|end| matches(rest, &name[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name) in [
            ("base", "base"),
            ("*", ""),
            ("b*e", "base"),
            ("*-seed1", "base-seed1"),
            ("*a*e*", "base-seed1"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("base", "base-seed1"), ("b*x", "base"), ("", "a")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}

//! Whether the pattern of an endpoint can be compiled (d24).

use regex::RegexBuilder;

/// What a compiled pattern may take, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// Compiles a pattern, only to say what is wrong with it.
pub(super) fn check_pattern(path_regex: &str, _replacement: Option<&str>) -> Result<(), String> {
    RegexBuilder::new(&format!("^(?:{path_regex})$"))
        .case_insensitive(true)
        .size_limit(MAX_COMPILED)
        .build()
        .map(drop)
        .map_err(|error| error.to_string())
}

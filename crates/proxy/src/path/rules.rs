//! How a service interprets paths, as declared in its definition.

/// How to treat a path that some services interpret differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Refuse it.
    Refuse,
    /// Forward it if both interpretations lead to the same endpoint.
    SameEndpoint,
    /// Forward it: the service does not interpret it differently.
    Allow,
}

/// How the service of an API interprets paths (`proxy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRules {
    /// For `%2F`, `%5C` and `\`, which some services treat as `/`.
    pub encoded_slashes: Rule,
    /// For `//`, which some services treat as `/`.
    pub empty_segments: Rule,
    /// For `;` with the rest of its segment, for `%3F` and `%23` with the rest of the path, and for
    /// dots and blanks at the end of a segment: some services cut these off.
    pub path_parameters: Rule,
}

impl Default for PathRules {
    fn default() -> Self {
        Self {
            encoded_slashes: Rule::Refuse,
            empty_segments: Rule::Refuse,
            path_parameters: Rule::SameEndpoint,
        }
    }
}

impl Rule {
    /// The names of the rules in definitions.
    pub(crate) const WORDS: [(&'static str, Self); 3] =
        [("refuse", Self::Refuse), ("same_endpoint", Self::SameEndpoint), ("allow", Self::Allow)];
}

/// Why a path is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRefusal {
    /// [`PathRules::encoded_slashes`].
    #[error("The path must not contain an encoded slash or a backslash (encoded_slashes).")]
    Slash,
    /// [`PathRules::empty_segments`].
    #[error("The path must not contain an empty segment (empty_segments).")]
    Empty,
    /// [`PathRules::path_parameters`].
    #[error(
        "The path must not contain ;, an encoded ? or #, or a segment that ends in a dot or a blank (path_parameters)."
    )]
    Ends,
    /// Servers and file systems treat it as the end of a text or a line.
    #[error("The path must not contain control characters.")]
    Control,
    /// Some services find dot segments in it.
    #[error("The path must not contain dot segments in disguise.")]
    Dots,
    /// Services that interpret it differently would find different endpoints.
    #[error("The path can be read in two ways that lead to different endpoints.")]
    Ambiguous,
    /// With its captures inserted, `path_replacement` does not yield a path, or yields dot
    /// segments.
    #[error("The path cannot be put into path_replacement.")]
    Replacement,
}

//! What a service reads in a path, as far as its definition says so.

/// What becomes of a path that some services read in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It is refused.
    Refuse,
    /// It is forwarded where it has the same endpoint in both readings.
    SameEndpoint,
    /// It is forwarded: the service does not read it in another way.
    Allow,
}

/// How the service of an API reads paths (`proxy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRules {
    /// For `%2F`, `%5C` and `\`, which some take for `/`.
    pub encoded_slashes: Rule,
    /// For `//`, which some take for `/`.
    pub empty_segments: Rule,
    /// For `;` with what follows it in its segment, for `%3F` and `%23` with all that follows, and
    /// for dots and blanks at the end of a segment, which some cut off.
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
    /// The words of definitions.
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
    /// Servers and file systems end a text there, or a line.
    #[error("The path must not contain control characters.")]
    Control,
    /// Some services read dot segments in it.
    #[error("The path must not contain dot segments in disguise.")]
    Dots,
    /// Services that read it in different ways would find different endpoints.
    #[error("The path can be read in two ways that lead to different endpoints.")]
    Ambiguous,
    /// With the captures in it, the path of `path_replacement` is none, or leads out of itself.
    #[error("The path cannot be put into path_replacement.")]
    Replacement,
}

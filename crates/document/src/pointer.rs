//! JSON Pointers to places in documents (RFC 6901).

/// Most characters of a name that a pointer repeats: it stands in log lines and answers.
const SHOWN: usize = 100;

/// The pointer of a member (RFC 6901, section 3). A long name is cut.
pub fn child(pointer: &str, name: &str) -> String {
    let name: String = name.chars().take(SHOWN).collect();
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

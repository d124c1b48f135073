//! Finds the endpoint of a request among any number of them.
//!
//! All paths of a pattern share a fixed beginning and end. Patterns are grouped by the whole
//! segments of their beginning, so that a path needs one lookup for each of its segments, and then
//! by the rest of their beginning or their end. The remaining candidates are tried, the most
//! specific first. The cost depends on the path, not on the number of endpoints.

mod filter;
mod group;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::iter::successors;

use http::Method;
use memchr::{memchr_iter, memrchr};

use crate::path::{PathRefusal, PathRules, PathView, Pattern, Rule, fold};
use group::CandidateGroup;

/// Limit of the overlaps that are reported.
const MOST_OVERLAPS: usize = 100;

/// Limit of the matches that are tried to find overlaps, which takes some milliseconds.
const MOST_TRIES: usize = 100_000;

/// An endpoint to find.
pub trait Routed {
    /// The method; `GET` covers `HEAD`.
    fn method(&self) -> &Method;
    /// The paths.
    fn pattern(&self) -> &Pattern;
    /// How its service interprets paths.
    fn rules(&self) -> PathRules {
        PathRules::default()
    }
}

/// Finds endpoints by method and path. If several match, the most specific one is returned: the one
/// with the longest fixed beginning; then one without variable parts; then the one with the most
/// fixed characters; then the first.
#[derive(Debug)]
pub struct Routes<T> {
    endpoints: Vec<T>,
    by_method: HashMap<Method, Set>,
}

/// The endpoints of one method.
#[derive(Debug, Default)]
struct Set {
    groups: HashMap<Box<str>, CandidateGroup>,
    /// Maximum number of slashes in a key of `groups`.
    depth: usize,
}

/// Two endpoints that match the same path.
#[derive(Debug)]
pub struct Overlap<'a, T> {
    /// The endpoint that is found.
    pub winner: &'a T,
    /// The endpoint that is not.
    pub loser: &'a T,
    /// A path that both match.
    pub path: &'a str,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { endpoints: Vec::new(), by_method: HashMap::new() }
    }
}

impl<T: Routed> Routes<T> {
    /// Indexes endpoints, given in the order of their definition.
    pub fn new(mut endpoints: Vec<T>) -> Self {
        // A stable sort: equally specific endpoints keep their order.
        endpoints.sort_by_key(|endpoint| {
            let shape = endpoint.pattern().shape();
            Reverse((shape.prefix.len(), shape.is_exact, shape.literals))
        });
        let mut members: HashMap<Method, HashMap<Box<str>, Vec<usize>>> = HashMap::new();
        for (number, endpoint) in endpoints.iter().enumerate() {
            let groups = members.entry(endpoint.method().clone()).or_default();
            groups.entry(segments(endpoint).into()).or_default().push(number);
        }
        let by_method = members.into_iter().map(|(method, groups)| {
            let depth = groups.keys().map(|key| slashes(key)).max().unwrap_or(0);
            let groups = groups.into_iter().map(|(key, numbers)| {
                let group = CandidateGroup::new(key.len(), numbers, &endpoints);
                (key, group)
            });
            (method, Set { groups: groups.collect(), depth })
        });
        let by_method = by_method.collect();
        Self { endpoints, by_method }
    }

    /// Returns the endpoint for a request; `HEAD` is covered by `GET`.
    pub fn find(&self, method: &Method, path: &PathView<'_>) -> Option<&T> {
        self.number(method, path).map(|number| &self.endpoints[number])
    }

    /// Returns the endpoint for a request, if every interpretation of its path leads to the same
    /// one.
    ///
    /// # Errors
    /// Fails if interpretations lead to different endpoints, or the endpoint's rules refuse the
    /// path.
    pub fn choose(&self, method: &Method, path: &PathView<'_>) -> Result<Option<&T>, PathRefusal> {
        let Some(number) = self.number(method, path) else { return Ok(None) };
        let endpoint = &self.endpoints[number];
        let mut rules = endpoint.rules();
        if rules.path_parameters == Rule::SameEndpoint && endpoint.pattern().names_parameters() {
            rules.path_parameters = Rule::Allow;
        }
        path.check(rules, |reading| self.number(method, reading) == Some(number))?;
        Ok(Some(endpoint))
    }

    /// Returns the methods of all endpoints that match a path, sorted by name.
    pub fn methods(&self, path: &PathView<'_>) -> Vec<Method> {
        let has = |method: &&Method| self.number_of(method, path).is_some();
        let mut methods: Vec<_> = self.by_method.keys().filter(has).cloned().collect();
        if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
            methods.push(Method::HEAD);
        }
        methods.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        methods
    }

    /// Returns pairs of endpoints of one method that match the same path, found by an example of
    /// each pattern. May be incomplete if there are many.
    pub fn overlaps(&self) -> Vec<Overlap<'_, T>> {
        let mut pairs = BTreeSet::new();
        let mut overlaps = Vec::new();
        let mut tries = 0;
        for (number, endpoint) in self.endpoints.iter().enumerate() {
            let Some(path) = endpoint.pattern().shape().example.as_deref() else { continue };
            let is_other = |other: usize| {
                tries += 1;
                other != number && tries <= MOST_TRIES && self.endpoints[other].pattern().is_match(path)
            };
            let Some(other) = self.by_method[endpoint.method()].find(&fold(path), is_other) else { continue };
            let (winner, loser) = (number.min(other), number.max(other));
            if pairs.insert((winner, loser)) {
                let [winner, loser] = [winner, loser].map(|number| &self.endpoints[number]);
                overlaps.push(Overlap { winner, loser, path });
            }
            if overlaps.len() == MOST_OVERLAPS {
                break;
            }
        }
        overlaps
    }

    fn number(&self, method: &Method, path: &PathView<'_>) -> Option<usize> {
        let found = self.number_of(method, path);
        match *method {
            Method::HEAD => found.or_else(|| self.number_of(&Method::GET, path)),
            _ => found,
        }
    }

    /// Returns the most specific endpoint of a method that matches any of the path's texts.
    fn number_of(&self, method: &Method, path: &PathView<'_>) -> Option<usize> {
        let set = self.by_method.get(method)?;
        let by_text = |text| set.find(&fold(text), |number| self.endpoints[number].pattern().is_match(text));
        path.texts().filter_map(by_text).min()
    }
}

impl Set {
    /// Returns the most specific endpoint that matches a path.
    fn find(&self, folded: &str, mut is_match: impl FnMut(usize) -> bool) -> Option<usize> {
        self.groups_of(folded).find_map(|group| group.find(folded, &mut is_match))
    }

    /// Returns the groups that may match a path, the most specific first. A pattern in a group with
    /// a longer key begins with that key; one in a group with a shorter key is variable before its
    /// next slash. So the former have longer fixed beginnings than the latter.
    fn groups_of<'a>(&'a self, folded: &'a str) -> impl Iterator<Item = &'a CandidateGroup> {
        let deepest = memchr_iter(b'/', folded.as_bytes()).take(self.depth).last().map_or(0, |at| at + 1);
        let ends = successors(Some(deepest), |end| {
            let before = end.checked_sub(1)?;
            Some(memrchr(b'/', &folded.as_bytes()[..before]).map_or(0, |at| at + 1))
        });
        let whole = Some(folded.len()).filter(|end| *end != deepest);
        whole.into_iter().chain(ends).filter_map(|end| self.groups.get(&folded[..end]))
    }
}

/// Returns the key of an endpoint's group: its fixed beginning up to the last slash, or the whole
/// path if it is fixed.
fn segments<T: Routed>(endpoint: &T) -> &str {
    let shape = endpoint.pattern().shape();
    match shape.is_exact {
        true => &shape.prefix,
        false => &shape.prefix[..shape.prefix.rfind('/').map_or(0, |at| at + 1)],
    }
}

fn slashes(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'/').count()
}

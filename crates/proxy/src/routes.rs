//! Which endpoint a request is for, among any number of them.
//!
//! A pattern says how all its paths begin and end. Patterns are sorted by whole segments of their
//! beginning, so that a path has to be looked up once for each of its segments; then by what else
//! they begin or end with. What is left is tried, the most specific pattern first. The cost depends
//! on the path, not on the number of endpoints.

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

/// Limit of how often a pattern is tried to find overlaps: some milliseconds.
const MOST_TRIES: usize = 100_000;

/// What a request can be for.
pub trait Routed {
    /// The method; `GET` covers `HEAD`.
    fn method(&self) -> &Method;
    /// The paths.
    fn pattern(&self) -> &Pattern;
    /// How its service reads them.
    fn rules(&self) -> PathRules {
        PathRules::default()
    }
}

/// Endpoints, found by method and path. Of several, the most specific is: the one whose paths have
/// the longest fixed beginning; then one without anything variable; then the one with the most
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
    /// The most slashes in a key of `groups`.
    depth: usize,
}

/// Two endpoints that can be meant by one path.
#[derive(Debug)]
pub struct Overlap<'a, T> {
    /// The one that is found.
    pub winner: &'a T,
    /// The one that is not.
    pub loser: &'a T,
    /// Such a path.
    pub path: &'a str,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { endpoints: Vec::new(), by_method: HashMap::new() }
    }
}

impl<T: Routed> Routes<T> {
    /// Endpoints in the order of their definition.
    pub fn new(mut endpoints: Vec<T>) -> Self {
        // Stable: those that are equally specific stay in their order.
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

    /// The endpoint for a request; what takes `GET` takes `HEAD`.
    pub fn find(&self, method: &Method, path: &PathView<'_>) -> Option<&T> {
        self.number(method, path).map(|number| &self.endpoints[number])
    }

    /// The endpoint for a request, where it is the same for everybody who reads its path.
    ///
    /// # Errors
    /// It is not, or the endpoint's rules refuse the path.
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

    /// The methods that a path has, in the order of their names.
    pub fn methods(&self, path: &PathView<'_>) -> Vec<Method> {
        let has = |method: &&Method| self.number_of(method, path).is_some();
        let mut methods: Vec<_> = self.by_method.keys().filter(has).cloned().collect();
        if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
            methods.push(Method::HEAD);
        }
        methods.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        methods
    }

    /// Endpoints of one method that cover a path together, as far as an example of each shows; some
    /// of them, if there are many.
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

    /// The most specific endpoint of a method by any of the path's texts.
    fn number_of(&self, method: &Method, path: &PathView<'_>) -> Option<usize> {
        let set = self.by_method.get(method)?;
        let by_text = |text| set.find(&fold(text), |number| self.endpoints[number].pattern().is_match(text));
        path.texts().filter_map(by_text).min()
    }
}

impl Set {
    /// The most specific endpoint that a path is found to match.
    fn find(&self, folded: &str, mut is_match: impl FnMut(usize) -> bool) -> Option<usize> {
        self.groups_of(folded).find_map(|group| group.find(folded, &mut is_match))
    }

    /// The groups that a path can belong to, the most specific first. A pattern of a group whose
    /// key is longer begins with that key, one of a group whose key is shorter has something
    /// variable before its next slash: so all of the first begin with more than any of the second.
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

/// What groups the paths of an endpoint: its fixed beginning up to the last slash, or the whole
/// path.
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

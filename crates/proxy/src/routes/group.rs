//! Patterns whose paths begin with the same segments.

use std::collections::HashMap;

use super::Routed;
use super::filter::Candidates;
use crate::path::Shape;

/// Indices of endpoints, the most specific first, by how the rest of their paths begins or ends.
#[derive(Debug)]
pub(super) struct CandidateGroup {
    /// Number of bytes that all their paths begin with.
    begun: usize,
    by_beginning: ByLiteral,
    by_end: ByLiteral,
    others: Candidates,
}

/// Indices by a text of one of these lengths.
#[derive(Debug, Default)]
struct ByLiteral {
    lengths: Vec<usize>,
    candidates: HashMap<Box<str>, Candidates>,
}

impl ByLiteral {
    fn new<'s>(numbers: HashMap<&'s str, Vec<usize>>, shape: &impl Fn(usize) -> &'s Shape) -> Self {
        let mut lengths: Vec<_> = numbers.keys().map(|text| text.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let candidates =
            numbers.into_iter().map(|(text, numbers)| (text.into(), Candidates::new(numbers, shape)));
        Self { lengths, candidates: candidates.collect() }
    }
}

impl CandidateGroup {
    /// Groups endpoints whose paths have the first `begun` bytes in common.
    pub(super) fn new<T: Routed>(begun: usize, numbers: Vec<usize>, endpoints: &[T]) -> Self {
        let shape = |number: usize| endpoints[number].pattern().shape();
        let (mut by_beginning, mut by_end) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        let mut others = Vec::new();
        for number in numbers {
            match (&shape(number).prefix[begun..], &*shape(number).suffix) {
                ("", "") => others.push(number),
                ("", end) => by_end.entry(end).or_default().push(number),
                (beginning, _) => by_beginning.entry(beginning).or_default().push(number),
            }
        }
        Self {
            begun,
            by_beginning: ByLiteral::new(by_beginning, &shape),
            by_end: ByLiteral::new(by_end, &shape),
            others: Candidates::new(others, &shape),
        }
    }

    /// Returns the first index, which is the most specific, that matches a path.
    pub(super) fn find(&self, folded: &str, mut is_match: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut best = None;
        // The longest first, since it is the most specific.
        for &length in self.by_beginning.lengths.iter().rev() {
            let beginning = folded[self.begun..].get(..length);
            if let Some(candidates) = beginning.and_then(|text| self.by_beginning.candidates.get(text)) {
                best = candidates.find(folded, best, &mut is_match);
            }
        }
        for &length in self.by_end.lengths.iter().rev() {
            let end = folded.len().checked_sub(length).and_then(|from| folded.get(from..));
            if let Some(candidates) = end.and_then(|text| self.by_end.candidates.get(text)) {
                best = candidates.find(folded, best, &mut is_match);
            }
        }
        self.others.find(folded, best, &mut is_match)
    }
}

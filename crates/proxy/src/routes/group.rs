//! Patterns whose paths begin with the same segments.

use std::collections::HashMap;

use regex::{RegexSet, RegexSetBuilder};

use super::Endpoint;

/// So many patterns are tried one after the other; more are made into one automaton.
const FEW: usize = 16;

/// What that automaton may take, in bytes, before it runs; while it runs, it may take as much again.
const MAX_AUTOMATON: usize = 64 << 20;

/// Numbers of endpoints, the most specific first, by what the rest of their paths begins or ends with.
#[derive(Debug)]
pub(super) struct Group {
    /// Bytes that all their paths begin with.
    begun: usize,
    by_beginning: Buckets,
    by_end: Buckets,
    others: Vec<usize>,
    /// Of the others, where there are many.
    automaton: Option<RegexSet>,
}

/// Numbers by a text of one of these lengths.
#[derive(Debug, Default)]
struct Buckets {
    lengths: Vec<usize>,
    numbers: HashMap<Box<str>, Vec<usize>>,
}

impl Buckets {
    fn push(&mut self, text: &str, number: usize) {
        if !self.lengths.contains(&text.len()) {
            self.lengths.push(text.len());
        }
        self.numbers.entry(text.into()).or_default().push(number);
    }
}

impl Group {
    /// Of these endpoints, whose paths have the first `begun` bytes in common.
    pub(super) fn new<T: Endpoint>(begun: usize, numbers: Vec<usize>, endpoints: &[T]) -> Self {
        let (mut by_beginning, mut by_end, mut others) = (Buckets::default(), Buckets::default(), Vec::new());
        for number in numbers {
            let shape = endpoints[number].pattern().shape();
            match (&shape.prefix[begun..], &*shape.suffix) {
                ("", "") => others.push(number),
                ("", end) => by_end.push(end, number),
                (beginning, _) => by_beginning.push(beginning, number),
            }
        }
        let automaton = (others.len() > FEW).then(|| {
            let patterns = others.iter().map(|number| endpoints[*number].pattern().as_str());
            // Too large: then they are tried one after the other.
            RegexSetBuilder::new(patterns)
                .case_insensitive(true)
                .size_limit(MAX_AUTOMATON)
                .dfa_size_limit(MAX_AUTOMATON)
                .build()
                .ok()
        });
        Self { begun, by_beginning, by_end, others, automaton: automaton.flatten() }
    }

    /// The most specific endpoint for a path; `but` is not looked for.
    pub(super) fn find<T: Endpoint>(
        &self,
        endpoints: &[T],
        path: &str,
        folded: &str,
        but: Option<usize>,
    ) -> Option<usize> {
        let is_found = |number: &usize| but != Some(*number) && endpoints[*number].pattern().is_match(path);
        let mut best: Option<usize> = None;
        let mut look = |numbers: &[usize]| {
            let better = numbers.iter().take_while(|number| best.is_none_or(|best| **number < best));
            best = better.copied().find(|number| is_found(number)).or(best);
        };
        for &length in &self.by_beginning.lengths {
            if let Some(numbers) =
                folded[self.begun..].get(..length).and_then(|text| self.by_beginning.numbers.get(text))
            {
                look(numbers);
            }
        }
        for &length in &self.by_end.lengths {
            let from = folded.len().checked_sub(length);
            if let Some(numbers) = from.and_then(|from| self.by_end.numbers.get(folded.get(from..)?)) {
                look(numbers);
            }
        }
        match &self.automaton {
            Some(automaton) => {
                let matches = automaton.matches(path);
                let found = matches.iter().map(|at| self.others[at]).find(|number| but != Some(*number));
                best.into_iter().chain(found).min()
            }
            None => {
                look(&self.others);
                best
            }
        }
    }
}

//! Narrows down the patterns of one group by texts that their paths contain.

use std::collections::HashMap;

use aho_corasick::AhoCorasick;

use crate::path::Shape;

/// Up to this number, all patterns are tried in order.
const FEW: usize = 8;

/// Indices of endpoints, the most specific first.
#[derive(Debug)]
pub(super) struct Candidates {
    /// Those that are always tried.
    always: Vec<usize>,
    /// If there are many: those whose paths contain a text that is rare in the group.
    by_text: Option<ByText>,
}

/// Finds all texts in a path in one pass.
#[derive(Debug)]
struct ByText {
    automaton: AhoCorasick,
    /// For each text, the endpoints whose paths contain it.
    numbers: Vec<Vec<usize>>,
}

impl Candidates {
    pub(super) fn new<'s>(numbers: Vec<usize>, shape: &impl Fn(usize) -> &'s Shape) -> Self {
        if numbers.len() <= FEW {
            return Self { always: numbers, by_text: None };
        }
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for text in numbers.iter().flat_map(|number| shape(*number).contained.iter().flatten()) {
            *uses.entry(text).or_default() += 1;
        }
        let (mut always, mut by_text) = (Vec::new(), HashMap::<&str, Vec<usize>>::new());
        for &number in &numbers {
            let used = |any: &Vec<String>| any.iter().map(|text| uses[&**text]).sum::<usize>();
            let rarest = shape(number).contained.iter().min_by_key(|any| used(any));
            match rarest.filter(|any| used(any) <= numbers.len() / 2) {
                Some(any) => any.iter().for_each(|text| by_text.entry(text).or_default().push(number)),
                None => always.push(number),
            }
        }
        let (texts, of_text): (Vec<_>, Vec<_>) = by_text.into_iter().unzip();
        match AhoCorasick::new(texts) {
            Ok(automaton) => Self { always, by_text: Some(ByText { automaton, numbers: of_text }) },
            // The automaton would need more than 2 GiB.
            Err(_) => Self { always: numbers, by_text: None },
        }
    }

    /// Returns the first candidate before `best` that matches a path, or else `best`.
    pub(super) fn find(
        &self,
        folded: &str,
        best: Option<usize>,
        mut is_match: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut first = |numbers: &[usize], best: Option<usize>| {
            let mut better = numbers.iter().take_while(|number| best.is_none_or(|best| **number < best));
            better.find(|number| is_match(**number)).copied().or(best)
        };
        let best = first(&self.always, best);
        let Some(ByText { automaton, numbers }) = &self.by_text else { return best };
        // A text may occur several times in a path.
        let mut texts: Vec<_> =
            automaton.find_overlapping_iter(folded).map(|found| found.pattern()).collect();
        texts.sort_unstable();
        texts.dedup();
        let mut found: Vec<_> =
            texts.into_iter().flat_map(|text| &numbers[text.as_usize()]).copied().collect();
        found.sort_unstable();
        found.dedup();
        first(&found, best)
    }
}

//! Reads the members of one object of a definition, each with its type and bounds, and notes each
//! fault and each unknown member with its pointer.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use document::child;
use serde_json::{Map, Value};

use crate::fault::{Fault, Warning};

/// Limit of the faults that are reported for one document, which bounds the size of the answer.
const MAX_FAULTS: usize = 1000;

/// How similar an unknown name must be to a known one to be suggested (Jaro-Winkler).
const CLOSE: f64 = 0.8;

/// The faults and warnings found in a document so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<Warning>>,
}

impl Findings {
    pub(super) fn fault(&self, fault: Fault) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < MAX_FAULTS {
            faults.push(fault);
        }
    }

    pub(super) fn warn(&self, pointer: &str, text: &str) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < MAX_FAULTS {
            warnings.push(Warning(format!("{pointer}: {text}")));
        }
    }

    pub(super) fn into_parts(self) -> (Vec<Fault>, Vec<Warning>) {
        (self.faults.into_inner(), self.warnings.into_inner())
    }
}

/// One object, with its pointer.
#[derive(Clone, Copy)]
pub(super) struct MemberReader<'a> {
    map: &'a Map<String, Value>,
    pointer: &'a str,
    group: &'a str,
    findings: &'a Findings,
}

impl<'a> MemberReader<'a> {
    pub(super) fn new(
        map: &'a Map<String, Value>,
        pointer: &'a str,
        group: &'a str,
        findings: &'a Findings,
    ) -> Self {
        Self { map, pointer, group, findings }
    }

    pub(super) fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    pub(super) fn group(&self) -> &'a str {
        self.group
    }

    pub(super) fn findings(&self) -> &'a Findings {
        self.findings
    }

    /// Returns the pointer of a member.
    pub(super) fn pointer(&self, name: &str) -> String {
        child(self.pointer, name)
    }

    /// Returns a member; `None` if it is missing or `null`.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn fault(&self, name: &str, reason: impl Into<String>) {
        self.fault_at(self.pointer(name), name, reason);
    }

    /// Reports a fault at a pointer below the member that names it.
    pub(super) fn fault_at(&self, pointer: String, name: &str, reason: impl Into<String>) {
        self.findings.fault(Fault {
            pointer,
            group: self.group.to_owned(),
            field: name.to_owned(),
            reason: reason.into(),
        });
    }

    pub(super) fn warn(&self, name: &str, text: &str) {
        self.findings.warn(&self.pointer(name), text);
    }

    /// Reads a required, non-empty text. Reports faults in RIG's words.
    pub(super) fn needed_text(&self, name: &str, most: usize) -> Option<&'a str> {
        if self.value(name).is_none() {
            self.fault(name, "must be string");
            self.fault(name, "must have a length of at least 1");
            return None;
        }
        self.text(name, most)
    }

    /// Reads a non-empty text.
    pub(super) fn text(&self, name: &str, most: usize) -> Option<&'a str> {
        let Some(text) = self.value(name)?.as_str() else {
            self.fault(name, "must be string");
            return None;
        };
        if text.is_empty() {
            self.fault(name, "must have a length of at least 1");
            return None;
        }
        if text.len() > most {
            self.fault(name, format!("must have at most {most} bytes"));
            return None;
        }
        Some(text)
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        let Some(value) = self.value(name) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.fault(name, "must be boolean");
            default
        })
    }

    /// Reads an integer within a range.
    pub(super) fn number(&self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(name)?;
        if !value.is_i64() && !value.is_u64() {
            self.fault(name, "must be integer");
            return None;
        }
        let number = value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(name, format!("must be between {} and {}", range.start(), range.end()));
        }
        number
    }

    /// Reads a small integer within a range, with a default.
    pub(super) fn small(&self, name: &str, default: u32, range: RangeInclusive<u64>) -> u32 {
        self.number(name, range).and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
    }

    pub(super) fn object(&self, name: &str) -> Option<&'a Map<String, Value>> {
        let object = self.value(name)?.as_object();
        if object.is_none() {
            self.fault(name, "must be object");
        }
        object
    }

    /// Warns of every unknown member.
    pub(super) fn only(&self, known: &[&str]) {
        for name in self.map.keys().filter(|name| !known.contains(&name.as_str())) {
            let close = known
                .iter()
                .map(|known| (strsim::jaro_winkler(known, name), known))
                .filter(|(likeness, _)| *likeness >= CLOSE)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            match close {
                Some((_, known)) => self.warn(name, &format!("unknown; did you mean {known}?")),
                None => self.warn(name, "unknown"),
            }
        }
    }
}

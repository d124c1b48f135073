//! Resolves many pointers in one pass over the JSON, without building anything.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::pointer::{Pointer, index};

/// A set of pointers, compiled so that a document is read only once for all of them.
#[derive(Clone, Debug)]
pub struct PointerTree {
    root: TreeNode,
    pointers: usize,
}

/// A place in a document that at least one pointer leads to or through.
#[derive(Clone, Debug, Default)]
struct TreeNode {
    /// The pointers that end here, as positions in the result.
    ends: Vec<usize>,
    /// All pointers that end here or below.
    below: Vec<usize>,
    /// By name, sorted.
    members: Vec<(Box<str>, TreeNode)>,
    /// Those of `members` whose names are also list indices, with their positions in `members`;
    /// sorted by index.
    indices: Vec<(usize, usize)>,
}

type Found<'j> = [Option<&'j str>];

impl PointerTree {
    /// Compiles the pointers; their order is the order of the results. The same pointer may occur
    /// twice. For `None`, the result is always `None`.
    pub fn new<'a, P: Into<Option<&'a Pointer>>>(pointers: impl IntoIterator<Item = P>) -> Self {
        let mut root = TreeNode::default();
        let mut count = 0;
        for pointer in pointers {
            let Some(pointer) = pointer.into() else {
                count += 1;
                continue;
            };
            let mut node = &mut root;
            node.below.push(count);
            for token in pointer.tokens() {
                node = node.member(token);
                node.below.push(count);
            }
            node.ends.push(count);
            count += 1;
        }
        root.index();
        Self { root, pointers: count }
    }

    /// Returns the value of each pointer in this document as it is written there: a number keeps
    /// its digits. Finds the same values as [`Pointer::resolve`]: the last of duplicate members
    /// counts. The result is `None` if there is no value, the path leads through a string or a
    /// number, or the text is not JSON; never an error.
    pub fn extract<'j>(&self, json: &'j [u8]) -> Vec<Option<&'j str>> {
        let mut found = vec![None; self.pointers];
        if self.pointers == 0 {
            return found;
        }
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let walk = Walk { node: &self.root, found: &mut found };
        if walk.deserialize(&mut deserializer).and_then(|()| deserializer.end()).is_err() {
            found.fill(None);
        }
        found
    }
}

impl TreeNode {
    fn member(&mut self, name: &str) -> &mut Self {
        let at = match self.position(name) {
            Ok(at) => at,
            Err(at) => {
                self.members.insert(at, (name.into(), Self::default()));
                at
            }
        };
        &mut self.members[at].1
    }

    fn index(&mut self) {
        for (at, (name, node)) in self.members.iter_mut().enumerate() {
            self.indices.extend(index(name).map(|index| (index, at)));
            node.index();
        }
        self.indices.sort_unstable();
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.members.binary_search_by(|(member, _)| (**member).cmp(name))
    }
}

/// The pass over the document, at one node.
struct Walk<'a, 'j> {
    node: &'a TreeNode,
    found: &'a mut Found<'j>,
}

impl<'j> Walk<'_, 'j> {
    fn descend<'w>(&'w mut self, node: &'w TreeNode) -> Walk<'w, 'j> {
        // Discards the values of an earlier member with the same name: the last one counts.
        for end in &node.below {
            self.found[*end] = None;
        }
        Walk { node, found: self.found }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.node.ends.is_empty() {
            return deserializer.deserialize_any(self);
        }
        let value: &RawValue = serde::Deserialize::deserialize(deserializer)?;
        for end in &self.node.ends {
            self.found[*end] = Some(value.get());
        }
        if self.node.members.is_empty() {
            return Ok(());
        }
        // The value is read again for the pointers below, at most once for each token of the
        // longest one.
        let mut deserializer = serde_json::Deserializer::from_str(value.get());
        deserializer.deserialize_any(self).map_err(serde::de::Error::custom)
    }
}

impl<'de> Visitor<'de> for Walk<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<(), A::Error> {
        while let Some(position) = object.next_key_seed(MemberSeed(self.node))? {
            match position {
                Some(at) => object.next_value_seed(self.descend(&self.node.members[at].1))?,
                None => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut reached = 0;
        for (index, at) in &self.node.indices {
            while reached < *index {
                if list.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(());
                }
                reached += 1;
            }
            if list.next_element_seed(self.descend(&self.node.members[*at].1))?.is_none() {
                return Ok(());
            }
            reached += 1;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    // A scalar has no members.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// Looks up a member's name among those of the node, without storing it.
struct MemberSeed<'a>(&'a TreeNode);

impl<'de> DeserializeSeed<'de> for MemberSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.position(name).ok())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn extract(pointers: &[&str], json: &str) -> Vec<Option<Value>> {
        let pointers: Vec<_> = pointers.iter().map(|pointer| Pointer::parse(pointer).unwrap()).collect();
        let found = PointerTree::new(&pointers).extract(json.as_bytes());
        found.into_iter().map(|value| value.map(|value| serde_json::from_str(value).unwrap())).collect()
    }

    #[test]
    fn d20_a_pointer_into_data_that_is_a_string_or_a_list_finds_nothing() {
        for data in [r#""text""#, "[1,2]", "[]", "7", "-7", "0.5", "true", "null", "{}"] {
            let json = format!(r#"{{"data":{data},"id":"1"}}"#);
            assert_eq!(extract(&["/data/name", "/id"], &json), [None, Some(json!("1"))], "{data}");
        }
        assert_eq!(extract(&["/data/name"], r#"{"id":"1"}"#), [None]);
    }

    #[test]
    fn results_come_in_the_order_of_the_pointers() {
        let json = r#"{"a":{"b":[1,{"c":2}]},"d":3}"#;
        let pointers = ["/d", "/a/b/1/c", "/a/b/0", "/a", "/a/b/1", "/d", "/x", "/a/b/2"];
        let b1 = json!({"c": 2});
        let a = json!({"b": [1, b1]});
        let found =
            [Some(json!(3)), Some(json!(2)), Some(json!(1)), Some(a), Some(b1), Some(json!(3)), None, None];
        assert_eq!(extract(&pointers, json), found);
        assert_eq!(extract(&[], json), []);
        assert_eq!(extract(&[""], json), [Some(serde_json::from_str(json).unwrap())]);
    }

    #[test]
    fn of_duplicate_members_the_last_counts() {
        assert_eq!(extract(&["/a/b"], r#"{"a":{"b":1},"a":{"b":2}}"#), [Some(json!(2))]);
        assert_eq!(extract(&["/a/b"], r#"{"a":{"b":1},"a":{"c":2}}"#), [None]);
        assert_eq!(extract(&["/a/b", "/a"], r#"{"a":{"b":1},"a":5}"#), [None, Some(json!(5))]);
    }

    #[test]
    fn f42_values_are_returned_as_written() {
        for written in
            ["89490200001234567891", "-0", "1E+2", "1e999999999", r#""\u0061""#, r#"{"b" : [1e400 ]}"#]
        {
            let json = format!(r#"{{"a": {written} ,"b":1}}"#);
            let pointers = ["/a", "/a/b/0"].map(|pointer| Pointer::parse(pointer).unwrap());
            let found = PointerTree::new(&pointers).extract(json.as_bytes());
            assert_eq!(found, [Some(written), written.contains('[').then_some("1e400")]);
        }
    }

    #[test]
    fn what_is_not_json_holds_nothing() {
        for bad in ["", "{", r#"{"a":1"#, r#"{"a":1} x"#, "nojson"] {
            assert_eq!(extract(&["/a"], bad), [None], "{bad}");
        }
    }
}

use std::borrow::Cow;
#[derive(Debug)]
pub(crate) struct Pattern(regex::Regex, Option<String>);
impl Pattern {
    pub(crate) fn new(r: &str, rep: Option<&str>) -> Result<Self, regex::Error> {
        let rep =
            rep.map(|rep| regex::Regex::new(r"\\(\d)").unwrap().replace_all(rep, "$${$1}").into_owned());
        Ok(Self(regex::RegexBuilder::new(&format!("^(?:{r})$")).case_insensitive(true).build()?, rep))
    }
    pub(crate) fn rewrite<'a>(&self, path: &'a str) -> Cow<'a, str> {
        match &self.1 {
            Some(r) => self.0.replace(path, r),
            None => path.into(),
        }
    }
    pub(crate) fn is_match(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}
pub(crate) fn normalized(path: &str) -> Option<Cow<'_, str>> {
    Some(path.into())
}

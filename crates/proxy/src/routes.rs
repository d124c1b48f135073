use crate::table::Route;
use http::Method;
use std::sync::Arc;
#[derive(Debug)]
pub(crate) struct Routes<T>(Vec<T>);
impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}
impl Routes<Arc<Route>> {
    pub(crate) fn compile(i: impl Iterator<Item = Arc<Route>>) -> Result<Self, Vec<crate::Fault>> {
        Ok(Self(i.collect()))
    }
    pub(crate) fn find(&self, m: &Method, p: &str) -> Option<&Arc<Route>> {
        self.0.iter().find(|r| r.endpoint.method == *m && r.pattern.is_match(p))
    }
    pub(crate) fn methods(&self, p: &str) -> Vec<Method> {
        self.0.iter().filter(|r| r.pattern.is_match(p)).map(|r| r.endpoint.method.clone()).collect()
    }
}

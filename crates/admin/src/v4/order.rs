//! Converts a request to an order: verifies the token in it, and checks the claim.

use std::time::{Duration, SystemTime};

use auth::Verifier;
use node::RevocationOrder;
use session::{Selector, SelectorError, Sessions};

use super::problem::{InvalidPlace, Problem, TokenFault};
use super::request::{Requested, Whom};

impl Requested {
    /// Resolves the selector of the request.
    ///
    /// # Errors
    /// Fails if the token is invalid, or tokens cannot be revoked by this claim.
    pub(super) fn into_order(
        self,
        sessions: &Sessions,
        verifier: &Verifier,
        now: SystemTime,
    ) -> Result<RevocationOrder, Problem> {
        let (selector, at_least) = selected(self.whom, sessions, verifier, now)?;
        Ok(RevocationOrder {
            id: self.id,
            selector,
            issued: self.issued,
            mode: self.mode,
            lasts: self.lasts,
            at_least,
            by: self.by,
            reason: self.reason,
            forced: self.force,
        })
    }
}

/// Returns the selector, and how long the token in the request stays valid.
fn selected(
    whom: Whom,
    sessions: &Sessions,
    verifier: &Verifier,
    now: SystemTime,
) -> Result<(Selector, Duration), Problem> {
    match whom {
        Whom::Session(name) => Ok((name.into(), Duration::ZERO)),
        Whom::Claim { claim, value } => {
            let selector = sessions.config().selector(&claim, value);
            let fault = |error: SelectorError| InvalidPlace::of_member("claim", error.to_string());
            Ok((selector.map_err(|error| Problem::fault(fault(error)))?, Duration::ZERO))
        }
        Whom::Jwt(token) => {
            let wrong = |fault: TokenFault| Problem::Token(fault);
            let claims = verifier.verify(token.trim()).map_err(|error| wrong(error.into()))?;
            let name = sessions.from_claims(&claims.map).map_err(|error| wrong(error.into()))?;
            Ok((name.into(), verifier.valid_for(&claims, now)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::time;
    use super::*;
    use crate::testing;
    use auth::{ConfiguredKey, KeySource, TokenConfig};
    use node::ResolvedOrder;
    use session::Config;
    use std::sync::Arc;

    fn order(sessions: &Sessions, body: &str) -> Result<ResolvedOrder, Problem> {
        let algorithms = "HS256".parse().unwrap();
        let source = KeySource::parse("a-test-secret-and-nothing-else");
        let key = ConfiguredKey::load(source.as_ref(), &algorithms).unwrap();
        let config = TokenConfig { algorithms, issuer: None, audience: Vec::new(), leeway: Duration::ZERO };
        let verifier = Verifier::new(Arc::new(key), config);
        let now = SystemTime::now();
        let asked = Requested::parse(body.as_bytes(), now)?;
        let order = asked.into_order(sessions, &verifier, now)?;
        Ok(testing::node(sessions, None).resolve(order, now)?)
    }

    fn problem(sessions: &Sessions, body: &str) -> String {
        let Err(problem) = order(sessions, body) else { panic!("{body}") };
        let document = serde_json::to_value(problem.document()).unwrap();
        format!("{} {}", document["status"], document["detail"].as_str().unwrap())
    }

    fn accept(sessions: &Sessions, body: &str) {
        let order = order(sessions, body).unwrap_or_else(|_| panic!("{body}"));
        assert!(order.known.is_none(), "{body}");
        sessions.revoke(&order.revocation, order.forced).unwrap();
    }

    #[test]
    fn a_claim_must_be_one_that_the_operator_named() {
        let sessions = Sessions::in_memory(Config::default().with_revocation_claims(["/sub"]).unwrap());
        let by = |claim| format!(r#"{{"claim":"{claim}","value":"a","validityInSeconds":60}}"#);
        assert_eq!(order(&sessions, &by("/sub")).unwrap().revocation.selector.claim(), Some("/sub"));
        assert_eq!(order(&sessions, &by("/jti")).unwrap().revocation.selector.claim(), None);
        assert_eq!(
            problem(&sessions, &by("/role")),
            r#"400 claim: tokens cannot be revoked by the claim "/role"; expected one of /jti, /sub"#
        );
    }

    #[test]
    fn a_token_that_is_not_valid_revokes_nothing() {
        let sessions = Sessions::in_memory(Config::default());
        assert_eq!(problem(&sessions, r#"{"jwt":"hidden"}"#), "422 jwt: Invalid signature");
    }

    #[test]
    fn the_same_id_for_the_same_is_known_and_for_another_refused() {
        let sessions = Sessions::in_memory(Config::default());
        let body = r#"{"id":"i","session":"s","issuedUpTo":"now","validityInSeconds":60}"#;
        accept(&sessions, body);
        assert!(order(&sessions, body).unwrap().known.is_some());
        let reason = body.replace("60", r#"60,"reason":"another""#);
        assert!(order(&sessions, &reason).unwrap().known.is_some(), "why does not matter");
        for other in [
            body.replace("60", "90"),
            body.replace(r#""s""#, r#""t""#),
            body.replace(r#""now""#, "5"),
            body.replace(r#""issuedUpTo":"now","#, ""),
            r#"{"id":"i","session":"s","issuedUpTo":"now","mode":"disconnect"}"#.to_owned(),
        ] {
            assert_eq!(problem(&sessions, &other), "409 another revocation has this id", "{other}");
        }
    }

    #[test]
    fn until_the_same_instant_is_the_same() {
        let sessions = Sessions::in_memory(Config::default());
        let until = time::shown(SystemTime::now() + Duration::from_secs(600)).unwrap();
        let body = format!(r#"{{"id":"i","session":"s","until":"{until}"}}"#);
        accept(&sessions, &body);
        assert!(order(&sessions, &body).unwrap().known.is_some());
        let later = time::shown(SystemTime::now() + Duration::from_secs(700)).unwrap();
        assert_eq!(problem(&sessions, &body.replace(&until, &later)), "409 another revocation has this id");
    }
}

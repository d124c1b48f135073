//! Converts a request to an order: verifies the token in it, and checks the claim.

use std::time::{Duration, SystemTime};

use auth::{TokenError, Verifier};
use node::RevocationOrder;
use session::{Selector, SelectorError, Sessions, Verified};

use super::problem::{InvalidPlace, Problem, TokenFault};
use super::request::{Requested, Whom};

impl Requested {
    /// Resolves the selector of the request. If that is a token with an unknown key of its issuer,
    /// waits until the issuer's keys are fetched.
    ///
    /// # Errors
    /// Fails if the token is invalid or cannot be verified now, or tokens cannot be revoked by this
    /// claim.
    pub(super) async fn into_order(
        self,
        sessions: &Sessions,
        verifier: &Verifier,
        now: SystemTime,
    ) -> Result<RevocationOrder, Problem> {
        let (selector, at_least) =
            selected(self.whom, self.issuer.as_deref(), sessions, verifier, now).await?;
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

/// Returns the problem of a selector that no token can have.
fn unselectable(error: SelectorError) -> Problem {
    let member = match &error {
        SelectorError::Claim { .. } => "claim",
        SelectorError::Issuer { .. } => "issuer",
    };
    Problem::fault(InvalidPlace::of_member(member, error.to_string()))
}

/// Returns the selector, and how long the token in the request stays valid.
async fn selected(
    whom: Whom,
    issuer: Option<&str>,
    sessions: &Sessions,
    verifier: &Verifier,
    now: SystemTime,
) -> Result<(Selector, Duration), Problem> {
    match whom {
        Whom::Session(name) => {
            let issuer = issuer.map(|issuer| sessions.config().known_issuer(issuer)).transpose();
            Ok((Selector::session(name).issued_by(issuer.map_err(unselectable)?), Duration::ZERO))
        }
        Whom::Claim { claim, value } => {
            let selector = sessions.config().selector(issuer, &claim, value);
            Ok((selector.map_err(unselectable)?, Duration::ZERO))
        }
        Whom::Jwt(token) => {
            let wrong = |fault: TokenFault| Problem::Token(fault);
            let claims = verifier.verify_fetching(token.trim()).await.map_err(|error| match error {
                TokenError::Unavailable => Problem::NoKeys,
                error => wrong(error.into()),
            })?;
            let (issuer, marks) = (claims.issuer.as_deref(), &claims.marks[..]);
            let verified = Verified { claims: &claims.map, issuer, marks };
            let name = sessions.session_of(verified).map_err(|error| wrong(error.into()))?;
            // Another issuer may give the same name to a session of its own.
            Ok((Selector::session(name).issued_by(claims.issuer.clone()), claims.valid_for(now)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::time;
    use super::*;
    use crate::testing;
    use auth::{Audience, ConfiguredKey, IssuerConfig, Issuers, KeySource, TokenConfig};
    use node::ResolvedOrder;
    use session::Config;
    use std::sync::Arc;
    use tokio::runtime::Builder;

    fn order(sessions: &Sessions, body: &str) -> Result<ResolvedOrder, Problem> {
        let algorithms = "HS256".parse().unwrap();
        let source = KeySource::parse("a-test-secret-and-nothing-else");
        let key = ConfiguredKey::load(source.as_ref(), &algorithms).unwrap();
        let config = TokenConfig { algorithms, issuer: None, audience: Vec::new(), leeway: Duration::ZERO };
        let issuer = IssuerConfig::new("down", "https://id.example", Audience::Any);
        let verifier = Verifier::new(Arc::new(key), config).with_issuers(Issuers::new(vec![issuer]));
        let now = SystemTime::now();
        let asked = Requested::parse(body.as_bytes(), now)?;
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let order = runtime.block_on(asked.into_order(sessions, &verifier, now))?;
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
    fn an_issuer_must_be_one_that_is_configured() {
        let issuer = |issuer: &str| session::IssuerField {
            issuer: issuer.into(),
            session_field: "/sid".to_owned(),

            ..session::IssuerField::default()
        };
        let issuers = vec![issuer("https://a.example"), issuer("https://b.example/")];
        let sessions = Sessions::in_memory(Config::default().with_issuers(issuers, false).unwrap());
        let of = |issuer: &str, who: &str| format!(r#"{{"issuer":"{issuer}",{who},"validityInSeconds":60}}"#);
        let selected = |body: String| order(&sessions, &body).unwrap().revocation.selector;
        let (session, user) = (r#""session":"s""#, r#""claim":"/sub","value":"u""#);
        let selector = selected(of("https://b.example/", session));
        assert_eq!((selector.issuer.as_deref(), selector.claim()), (Some("https://b.example/"), None));
        let selector = selected(of("https://a.example", user));
        assert_eq!((selector.issuer.as_deref(), selector.claim()), (Some("https://a.example"), Some("/sub")));
        let selector = selected(of("https://a.example", r#""claim":"/sid","value":"u""#));
        assert_eq!(selector.claim(), None, "it names the session");
        let expected = "400 issuer: expected one of https://a.example, https://b.example/";
        for who in [session, user] {
            for wrong in ["https://b.example", "https://A.example", "kc"] {
                assert_eq!(problem(&sessions, &of(wrong, who)), expected);
            }
        }
        let alone = Sessions::in_memory(Config::default());
        assert_eq!(problem(&alone, &of("https://a.example", session)), "400 issuer: no issuer is configured");
    }

    #[test]
    fn a_token_that_is_not_valid_revokes_nothing() {
        let sessions = Sessions::in_memory(Config::default());
        assert_eq!(problem(&sessions, r#"{"jwt":"hidden"}"#), "422 jwt: Invalid signature");
    }

    /// `{"alg":"RS256"}` and `{"iss":"https://id.example"}`.
    #[test]
    fn i08_a_token_whose_issuer_cannot_be_reached_may_be_sent_again() {
        let sessions = Sessions::in_memory(Config::default());
        let body = r#"{"jwt":"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUifQ.c2ln"}"#;
        assert_eq!(problem(&sessions, body), "503 jwt: the issuer cannot be asked");
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

//! Resolves a request to a revocation of this node: verifies the token, checks the claim, gives an
//! id.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth::Verifier;
use session::{Mode, Record, Revocation, RevocationId, RevokeError, Selector, Sessions};
use uuid::Uuid;

use super::problem::{InvalidPlace, Problem, TokenFault};
use super::request::{Issued, Lasts, Requested, Whom};

/// How much the clock may have been corrected between two requests for the same revocation.
const SAME_END: Duration = Duration::from_secs(2);

/// A revocation that can be carried out.
pub(crate) struct Resolved {
    pub(crate) revocation: Revocation,
    pub(crate) forced: bool,
    /// The record of the same revocation, if it was accepted before.
    pub(crate) known: Option<Box<Record>>,
}

impl Resolved {
    /// Looks up what the request refers to. Blocks while the log does.
    ///
    /// # Errors
    /// Fails if the token is not valid, tokens cannot be revoked by this claim, or another
    /// revocation has this id.
    pub(crate) fn new(
        asked: Requested,
        sessions: &Sessions,
        verifier: &Verifier,
        now: SystemTime,
    ) -> Result<Self, Problem> {
        let given = match asked.lasts {
            Some(Lasts::For(validity)) => validity,
            Some(Lasts::Until(at)) => at.duration_since(now).unwrap_or_default(),
            None => Duration::ZERO,
        };
        let (selector, least) = selected(asked.whom, sessions, verifier, now)?;
        let validity = match asked.mode {
            Mode::Revoke => given.max(least),
            Mode::Disconnect => Duration::ZERO,
        };
        let kept = match &asked.id {
            // If the log cannot be read now, the conflict is found when it is written: the
            // revocation must not wait.
            Some(id) => sessions.log().find(id).unwrap_or_default(),
            None => None,
        };
        let issued_up_to = asked.issued.map(|issued| match (issued, &kept) {
            (Issued::UpTo(second), _) => second,
            // A repeated request means the same time.
            (Issued::Now, Some(record)) if record.revocation.issued_up_to.is_some() => {
                record.revocation.issued_up_to.unwrap_or_default()
            }
            (Issued::Now, _) => sessions.issued_up_to_now(&selector),
        });
        let revocation = Revocation {
            id: asked.id.unwrap_or_else(new_id),
            selector,
            issued_up_to,
            mode: asked.mode,
            validity,
            by: asked.by,
            reason: asked.reason,
            extends: false,
        };
        if kept.as_ref().is_some_and(|record| !is_repeated(record, &revocation)) {
            return Err(Problem::Revoke(RevokeError::Conflict));
        }
        Ok(Self { revocation, forced: asked.force, known: kept.map(Box::new) })
    }
}

/// Returns the selector, and for how long the token in the request is valid.
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
            let fault = |error: session::SelectorError| InvalidPlace::of_member("claim", error.to_string());
            Ok((selector.map_err(|error| Problem::fault(fault(error)))?, Duration::ZERO))
        }
        Whom::Jwt(token) => {
            let wrong = |fault: TokenFault| Problem::Token(fault);
            let claims = verifier.verify(token.trim()).map_err(|error| wrong(error.into()))?;
            let name = sessions.from_claims(&claims.map).map_err(|error| wrong(error.into()))?;
            // `expires_at` is in whole seconds, rounded down.
            let end = Duration::from_secs(claims.expires_at).saturating_add(Duration::from_secs(1));
            let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok((name.into(), end.saturating_add(verifier.leeway()).saturating_sub(since)))
        }
    }
}

fn new_id() -> RevocationId {
    RevocationId::new(&Uuid::new_v4().to_string()).expect("a UUID is short and has no control characters")
}

/// Returns whether both are the same revocation, with the same validity or the same end.
fn is_repeated(record: &Record, revocation: &Revocation) -> bool {
    let lasts = revocation.validity == record.revocation.validity
        || revocation.validity.abs_diff(record.left) <= SAME_END
        || revocation.mode == Mode::Disconnect;
    record.revocation.is_same(revocation) && lasts
}

#[cfg(test)]
mod tests {
    use super::super::time;
    use super::*;
    use auth::{KeySource, TokenConfig};
    use session::Config;

    fn order(sessions: &Sessions, body: &str) -> Result<Resolved, Problem> {
        let verifier = Verifier::new(&TokenConfig {
            key: KeySource::parse("a-test-secret-and-nothing-else"),
            algorithms: "HS256".parse().unwrap(),
            issuer: None,
            audience: Vec::new(),
            leeway: Duration::ZERO,
        });
        let now = SystemTime::now();
        Resolved::new(Requested::parse(body.as_bytes(), now)?, sessions, &verifier.unwrap(), now)
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
            r#"400 claim: tokens cannot be revoked by the claim "/role"; allowed: /jti, /sub"#
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

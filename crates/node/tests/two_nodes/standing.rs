//! Statements of a provider at two nodes: standing revocations, and what each node disconnects for
//! itself.

use session::{IssuerField, Selector, Verified};

use super::*;

const ISSUER: &str = "https://id.example";

fn config() -> Config {
    let session_field = "/sid".to_owned();
    let issuer = IssuerField { issuer: ISSUER.into(), session_field, ..IssuerField::default() };
    // Beside the static key, so that the issuer counts.
    Config::default().with_issuers(vec![issuer], true).expect("pointers")
}

async fn two_nodes() -> (Network, Member, Member) {
    let network = Network::default();
    let [a, b] = ["a", "b"].map(|name| Member::join_with(&network, name, config()));
    tokio::time::sleep(LEASE / 3).await;
    (network, a, b)
}

/// The statement that a user has logged out.
fn statement(issued_up_to: u64, validity: Duration) -> Revocation {
    let selector = config().selector(Some(ISSUER), "/sub", name("1")).expect("it is selectable");
    let (by, reason) = ("issuer:kc".to_owned(), format!("jti {issued_up_to}"));
    Revocation::standing("kc", "/sub", selector, issued_up_to, validity, by, reason)
}

impl Member {
    /// Returns whether it was new, the connections that it has terminated here, and how far it has
    /// got.
    async fn take(&self, statement: Revocation, within: Duration) -> (bool, u64, Option<Reach>) {
        let (is_new, record, spread) = match self.node.revoke(statement, true, within).await {
            Ok(Outcome::Done(record, spread)) => (true, record, spread),
            Ok(Outcome::Again(record, spread)) => (false, record, spread),
            other => panic!("{other:?}"),
        };
        let receipt = record.receipt(&self.name).expect("it is done here");
        (is_new, receipt.connections, spread.map(|spread| spread.reach))
    }

    /// Opens a connection with a token of user 1.
    fn connect(&self, issuer: Option<&str>, iat: u64) -> Result<Arc<Connection>, OpenError> {
        let claims = serde_json::json!({ "sub": "1", "sid": "s", "jti": "j", "iat": iat });
        let marks = [("key", "thumbprint".into())];
        let claims = claims.as_object().expect("claims are an object");
        let token = Verified { claims, issuer, marks: if issuer.is_some() { &marks } else { &[] } };
        self.open_as(self.sessions.subject(token).expect("they are names"))
    }

    /// What the log has: the bound, the seconds that are left, and the revision in the stream.
    fn kept(&self) -> (Option<u64>, u64, u32) {
        let mut page = self.log.page(None, 9).expect("it is in memory");
        assert_eq!(page.len(), 1, "at {}", self.name);
        let record = page.remove(0);
        let seconds = (record.left + Duration::from_millis(500)).as_secs();
        (record.revocation.issued_up_to, seconds, record.revision)
    }
}

#[tokio::test(start_paused = true)]
async fn i23_a_statement_that_is_repeated_at_both_nodes_is_stored_once() {
    let (network, a, b) = two_nodes().await;
    let (theirs, others) = (b.connect(Some(ISSUER), 900).unwrap(), b.connect(None, 900).unwrap());
    assert_eq!(a.take(statement(900, MINUTE), WAIT).await, (true, 0, Some(Reach::Complete)));
    assert!(theirs.close_reason().is_some() && others.close_reason().is_none());
    for member in [&a, &b, &a] {
        let (is_new, connections, reach) = member.take(statement(900, MINUTE), WAIT).await;
        assert_eq!((is_new, connections), (false, 0), "at {}", member.name);
        assert_ne!(reach, Some(Reach::Queued), "at {}", member.name);
    }
    network.settle().await;
    for member in [&a, &b] {
        assert_eq!(member.kept(), (Some(900), 62, 1), "at {}", member.name);
        assert!(member.connect(Some(ISSUER), 900).is_err() && member.connect(Some(ISSUER), 901).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn i23_two_statements_at_two_nodes_at_the_same_time_end_as_the_later_of_both() {
    let (network, a, b) = two_nodes().await;
    for member in [&a, &b] {
        network.hold(&member.name);
    }
    a.take(statement(900, 10 * MINUTE), Duration::ZERO).await;
    b.take(statement(950, 5 * MINUTE), Duration::ZERO).await;
    for member in [&a, &b] {
        network.let_through(&member.name, None);
    }
    network.settle().await;
    assert_eq!((a.kept(), b.kept()), ((Some(950), 602, 2), (Some(950), 602, 2)));
    for member in [&a, &b] {
        assert!(member.connect(Some(ISSUER), 950).is_err() && member.connect(Some(ISSUER), 951).is_ok());
        assert_eq!(member.sessions.counts().blacklisted, 1, "at {}", member.name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_statement_waits_for_the_other_nodes_as_the_first_one_does() {
    let (network, a, b) = two_nodes().await;
    network.hold(&b.name);
    let theirs = b.connect(Some(ISSUER), 900).unwrap();
    assert_eq!(a.take(statement(900, MINUTE), Duration::ZERO).await, (true, 0, Some(Reach::Pending)));
    let again = a.take(statement(900, MINUTE), WAIT);
    let (told, ()) = tokio::join!(again, async {
        tokio::time::sleep(WAIT / 2).await;
        network.let_through(&b.name, None);
    });
    assert_eq!(told, (false, 0, Some(Reach::Complete)));
    assert!(theirs.close_reason().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_statement_that_is_repeated_without_a_lease_comes_after_a_lift_that_the_node_has_missed() {
    let (network, a, b) = two_nodes().await;
    a.take(statement(900, 60 * MINUTE), WAIT).await;
    network.settle().await;
    network.cut(&b.name);
    tokio::time::sleep(2 * LEASE).await;
    let id = statement(900, MINUTE).id;
    assert!(matches!(a.node.lift(id, None, WAIT).await, Ok(LiftOutcome::Done(_))));
    assert!(a.connect(Some(ISSUER), 900).is_ok());
    let (is_new, _, reach) = b.take(statement(900, MINUTE), Duration::ZERO).await;
    assert_eq!((is_new, reach), (false, Some(Reach::Queued)));
    network.connect(&b.name);
    network.settle().await;
    tokio::time::sleep(LEASE).await;
    for member in [&a, &b] {
        assert!(member.connect(Some(ISSUER), 900).is_err(), "at {}", member.name);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_node_disconnects_for_itself_stays_there() {
    let (network, a, b) = two_nodes().await;
    let [at_a, at_b] = [&a, &b].map(|member| member.connect(Some(ISSUER), 900).unwrap());
    let of_static_key = a.connect(None, 900).unwrap();
    let selector = Selector::mark("key", name("thumbprint")).issued_by(Some(ISSUER.into()));
    let (by, reason) = (Some("issuer:kc".to_owned()), Some("key withdrawn".to_owned()));
    let record = a.node.disconnect_here(selector, by, reason).await.unwrap();
    network.settle().await;
    assert_eq!(record.receipt(&a.name).map(|receipt| receipt.connections), Some(1));
    assert!(at_a.close_reason().is_some());
    assert!(at_b.close_reason().is_none() && of_static_key.close_reason().is_none());
    assert!(a.connect(Some(ISSUER), 900).is_ok(), "the token stays legal");
    let records = [&a, &b].map(|member| member.log.page(None, 9).unwrap().len());
    assert_eq!((records, a.log.unshared_count()), ([1, 0], 0));
    let found = a.node.find(record.revocation.id.clone()).await.unwrap().expect("it has a record");
    assert_eq!(found.revocation.reason.as_deref(), Some("key withdrawn"));
}

use std::sync::Arc;

use connection::Hub;
use seal::{Incarnation, Purpose, Seal};
use session::{Config, SessionName, Sessions};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn node() -> Node {
    let sessions = Sessions::in_memory(Config::default());
    let seal = Seal::new(None, Purpose::Connection, Incarnation::unnamed());
    let config = connection::Config::default();
    let hub = Hub::new(config, sessions.clone(), Arc::default(), seal, Arc::default(), Arc::default());
    Node::new(sessions, hub, None)
}

fn order(id: &str) -> RevocationOrder {
    let name: SessionName = "s".parse().expect("a name");
    RevocationOrder {
        id: Some(RevocationId::new(id).expect("an id")),
        selector: name.into(),
        issued: Some(Issued::Now),
        mode: Mode::Revoke,
        lasts: Some(Lasts::For(MINUTE)),
        at_least: Duration::ZERO,
        by: None,
        reason: None,
        forced: false,
    }
}

#[tokio::test]
async fn an_order_that_is_repeated_is_carried_out_once() {
    let node = node();
    let resolve = || node.resolve(order("i"), SystemTime::now()).expect("it is the same");
    assert!(matches!(node.execute(resolve(), Duration::ZERO).await, Ok(Outcome::Done(..))));
    let again = resolve();
    let forecast = node.forecast(&again);
    assert_eq!((forecast.connections, forecast.refused.is_some()), (0, false));
    assert!(matches!(node.execute(again, Duration::ZERO).await, Ok(Outcome::Before(..))));
    let other = RevocationOrder { lasts: Some(Lasts::For(2 * MINUTE)), ..order("i") };
    assert!(matches!(node.resolve(other, SystemTime::now()), Err(RevokeError::Conflict)));
}

#[tokio::test]
async fn of_two_orders_with_one_id_at_the_same_time_the_second_is_repeated_or_refused() {
    let node = node();
    let resolve = |order| node.resolve(order, SystemTime::now()).expect("none was carried out");
    let longer = RevocationOrder { lasts: Some(Lasts::For(60 * MINUTE)), ..order("i") };
    let (first, same, longer) = (resolve(order("i")), resolve(order("i")), resolve(longer));
    assert!(matches!(node.execute(first, Duration::ZERO).await, Ok(Outcome::Done(..))));
    assert!(matches!(node.execute(same, Duration::ZERO).await, Ok(Outcome::Before(..))));
    let refused = node.execute(longer, Duration::ZERO).await;
    assert!(matches!(refused, Err(NotRevoked::Refused(RevokeError::Conflict))), "{refused:?}");
}

#[test]
fn a_revocation_lasts_at_least_as_long_as_the_token() {
    let node = node();
    let now = SystemTime::now();
    let validity = |order| node.resolve(order, now).expect("it is the first").revocation.validity;
    let of_token = RevocationOrder { at_least: 3 * MINUTE, ..order("i") };
    assert_eq!(validity(of_token.clone()), 3 * MINUTE);
    assert_eq!(
        validity(RevocationOrder { lasts: Some(Lasts::Until(now + 4 * MINUTE)), ..of_token }),
        4 * MINUTE
    );
    let disconnect = RevocationOrder { mode: Mode::Disconnect, at_least: MINUTE, ..order("i") };
    assert_eq!(validity(disconnect), Duration::ZERO);
}

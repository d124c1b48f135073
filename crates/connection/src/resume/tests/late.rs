//! Subscriptions that are added a moment after a client came back.

use super::*;

/// Opens a connection as RIG's examples do: the subscriptions come later.
fn open_bare(world: &World, types: &[&str], cursor: &str) -> Arc<Connection> {
    let mut opening = world.opening(types, Some(cursor));
    opening.resume.is_complete = false;
    world.hub.open_stream(opening, Encoding::SsePlain, Bytes::new()).unwrap()
}

#[test]
fn r16_subscriptions_that_are_added_late_get_what_they_missed() {
    let world = World::new();
    let first = world.open(&["a", "b"], None);
    let (_, cursor) = begin(&first);
    world.publish("a", 0..2);
    world.publish("b", 2..4);
    let back = open_bare(&world, &[], &cursor);
    let (rest, id) = begin(&back);
    assert_eq!((whats(&rest), id), (vec![r#"{"events":0}"#], cursor.clone()));
    assert_eq!(rest[0].id, None, "it has to come back to the cursor until it has its subscriptions");
    world.publish("a", 4..5);

    back.set_subscriptions(&[], &subscriptions(&["a"])).unwrap();
    let got = read(&back);
    assert_eq!(whats(&got)[1..], ["0", "1", "4"]);
    let has_cursor: Vec<_> = got[1..].iter().map(|block| block.id.as_ref() == Some(&cursor)).collect();
    // The last one came after it had caught up with the rest.
    assert_eq!(has_cursor, [true, true, false]);
    world.publish("a", 5..6);
    let live = read(&back);
    assert_eq!(whats(&live), ["5"]);
    assert_ne!(live[0].id.as_ref(), Some(&cursor));

    // Nothing comes twice of what it has got.
    back.set_subscriptions(&[], &subscriptions(&["a", "b"])).unwrap();
    assert_eq!(whats(&read(&back))[1..], ["2", "3"]);
    back.set_subscriptions(&[], &subscriptions(&["b", "a"])).unwrap();
    assert_eq!(read(&back).len(), 1, "nothing was added");
}

/// Several changes while the first of them is on its way.
#[test]
fn subscriptions_that_are_added_while_it_is_behind_lose_and_repeat_nothing() {
    let world = World::new();
    let (_, cursor) = begin(&world.open(&["a", "b", "c"], None));
    for number in (0..600).step_by(3) {
        world.publish("a", number..number + 1);
        world.publish("b", number + 1..number + 2);
        world.publish("c", number + 2..number + 3);
    }
    let back = open_bare(&world, &["a"], &cursor);
    let mut got = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    let mut step = |blocks: usize| {
        for _ in 0..blocks {
            if let Poll::Ready(Ok(Some(bytes))) = back.poll_pop(&mut cx) {
                got.push(String::from_utf8(bytes.to_vec()).unwrap());
            }
        }
    };
    step(70);
    back.set_subscriptions(&[], &subscriptions(&["a", "b"])).unwrap();
    step(70);
    world.publish("b", 600..601);
    back.set_subscriptions(&[], &subscriptions(&["a", "b", "c"])).unwrap();
    step(1000);
    let id = |block: &String| {
        let data = block.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let event: Value = serde_json::from_str(data).unwrap();
        event["id"].as_str().unwrap().parse::<usize>().ok()
    };
    let mut numbers: Vec<_> = got.iter().filter_map(id).collect();
    assert_eq!(numbers.len(), 601);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..601).collect::<Vec<_>>());
}

/// Comparing them takes the time of all others.
#[test]
fn very_many_subscriptions_that_are_added_late_are_a_gap() {
    let world = World::new();
    let (_, cursor) = begin(&world.open(&["a"], None));
    let back = open_bare(&world, &["a"], &cursor);
    begin(&back);
    let put = |from: usize| {
        let names: Vec<_> = (from..from + 150).map(|number| format!("t{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        back.set_subscriptions(&[], &subscriptions(&names)).unwrap();
        read(&back)
    };
    let kept = [0, 150, 300].map(|from| put(from).len());
    assert_eq!(kept, [1, 1, 1]);
    let got = put(450);
    assert!(got.len() == 2 && got[1].what.contains("too_many"), "{got:?}");
    world.publish("t457", 0..1);
    assert_eq!(whats(&read(&back)), ["0"]);
}

/// Events that are in a lane when the connection falls behind.
#[test]
fn what_is_under_way_when_it_falls_behind_comes_from_the_ring() {
    let world = World::new();
    let (_, cursor) = begin(&world.open(&["a", "b"], None));
    world.publish("b", 0..1);
    let back = open_bare(&world, &["a"], &cursor);
    begin(&back);
    let sequencer = world.hub.config().history.clone().unwrap();
    let json = json!({ "specversion": "0.2", "type": "a", "id": "1" });
    let event = Event::from_json(json.to_string().into()).unwrap();
    let room = world.hub.lanes().room(1).now_or_never().unwrap();
    let index = &back.commons().index;
    let queued = sequencer.take(
        &event,
        index,
        |_| (),
        |position, receivers| {
            world.hub.lanes().queue(crate::frame::Frame::at(position, event.clone()), room, receivers)
        },
    );
    back.set_subscriptions(&[], &subscriptions(&["a", "b"])).unwrap();
    world.hub.lanes().deliver(queued.unwrap()).now_or_never().unwrap();
    assert_eq!(whats(&read(&back))[1..], ["0", "1"]);
}

/// Subscriptions of the token are there before those that the page sets.
#[test]
fn until_it_has_its_subscriptions_a_client_keeps_its_cursor() {
    let world = World::new();
    let (_, cursor) = begin(&world.open(&["a", "b"], None));
    world.publish("a", 0..1);
    world.publish("b", 1..2);
    let back = open_bare(&world, &["a"], &cursor);
    let (missed, _) = begin(&back);
    world.publish("a", 2..3);
    let live = read(&back);
    assert_eq!((whats(&missed), whats(&live)), (vec!["0", r#"{"events":1}"#], vec!["2"]));
    assert!(missed.iter().chain(&live).all(|block| block.id.is_none()), "{missed:?} {live:?}");
    back.heartbeat(world.hub.settled_positions()[0]);
    let Poll::Ready(Ok(Some(heartbeat))) = back.poll_pop(&mut Context::from_waker(Waker::noop())) else {
        panic!("there is a heartbeat");
    };
    assert_eq!(heartbeat, ": heartbeat\n\n");

    back.set_subscriptions(&[], &subscriptions(&["a", "b"])).unwrap();
    assert_eq!(whats(&read(&back))[1..], ["1"]);
    world.publish("a", 3..4);
    assert!(read(&back)[0].id.is_some());
}

/// After the time for late ones, and while it is still behind.
#[test]
fn subscriptions_that_are_added_too_late_count_from_then_on() {
    let world = World::new();
    let _others = world.open(&["a", "b"], None);
    let (_, cursor) = begin(&world.open(&["a"], None));
    world.publish("a", 0..300);
    let back = world.open(&["a"], Some(&cursor));
    back.with_returned(|returned, _| returned.expire()).unwrap();
    world.publish("b", 1000..1001);
    back.set_subscriptions(&[], &subscriptions(&["b"])).unwrap();
    world.publish("b", 1001..1002);
    world.publish("a", 1002..1003);
    let got = read(&back);
    let numbered: Vec<_> = whats(&got).into_iter().filter(|what| !what.contains(['[', '{'])).collect();
    let expected: Vec<_> = (0..300).chain(1001..1002).map(|number| number.to_string()).collect();
    assert_eq!(numbered, expected);
}

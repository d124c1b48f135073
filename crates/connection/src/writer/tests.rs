//! The writer over a wire that blocks.

use std::cell::{Cell, RefCell};
use std::sync::LazyLock;

use super::*;
use proptest::prelude::*;

mod fenced;

/// A socket that takes `room` bytes and then blocks.
#[derive(Default)]
struct Wire {
    room: Cell<usize>,
    taken: RefCell<Vec<u8>>,
    writes: Cell<u32>,
    cut: Cell<bool>,
}

impl Wire {
    fn with_room(room: usize) -> Self {
        Self { room: Cell::new(room), ..Self::default() }
    }

    fn text(&self) -> String {
        String::from_utf8(self.taken.borrow().clone()).unwrap()
    }
}

impl Sink for Wire {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        assert!(!self.cut.get(), "written after the cut");
        let bytes: Vec<u8> = slices.iter().flat_map(|s| s.to_vec()).take(self.room.get()).collect();
        if bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room.set(self.room.get() - bytes.len());
        self.writes.set(self.writes.get() + 1);
        self.taken.borrow_mut().extend_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn try_flush(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn is_flushed(&self) -> bool {
        true
    }

    fn abort(&self) {
        self.cut.set(true);
    }
}

const LIMIT: usize = 10;

/// The fence of a node without peers.
static OPEN: LazyLock<Fence> = LazyLock::new(Fence::default);

fn open(wire: &Wire) -> Writer {
    let mut writer = Writer::new(Bytes::from_static(b"head;"));
    writer.flush(wire, &OPEN);
    writer
}

fn terminate(writer: &mut Writer, farewell: &'static [u8], wire: &Wire) -> bool {
    let terminated =
        writer.terminate(CloseReason::SessionKilled, Bytes::from_static(farewell), Some(wire), &OPEN);
    writer.send_farewell(Some(wire), &OPEN);
    terminated
}

fn drain(writer: &mut Writer, farewell: &'static [u8], wire: &Wire) -> bool {
    let drained = writer.drain(CloseReason::Shutdown, Bytes::from_static(farewell));
    writer.send_farewell(Some(wire), &OPEN);
    drained
}

#[test]
fn a_kill_discards_what_waits() {
    let wire = Wire::with_room(5);
    let mut writer = open(&wire);
    writer.push(&[Bytes::from_static(b"payload")], Kind::Payload, Some(&wire), (LIMIT, &OPEN));
    terminate(&mut writer, b"killed", &wire);
    wire.room.set(100);
    assert_eq!(writer.flush(&wire, &OPEN), Next::Farewell { flushed: true });
    assert_eq!(wire.text(), "head;killed");
    assert_eq!(
        writer.push(&[Bytes::from_static(b"late")], Kind::Payload, Some(&wire), (LIMIT, &OPEN)),
        Pushed::Refused
    );
}

#[test]
fn the_farewell_waits_until_it_goes_on_and_payload_does_not_come() {
    let wire = Wire::with_room(5);
    let mut writer = open(&wire);
    wire.room.set(100);
    assert!(writer.terminate(CloseReason::SessionKilled, Bytes::from_static(b"killed"), Some(&wire), &OPEN));
    let late = writer.push(&[Bytes::from_static(b"late")], Kind::Payload, Some(&wire), (LIMIT, &OPEN));
    assert_eq!((late, wire.text().as_str()), (Pushed::Refused, "head;"));
    writer.send_farewell(Some(&wire), &OPEN);
    assert_eq!(wire.text(), "head;killed");
}

#[test]
fn a_kill_never_completes_a_frame() {
    let wire = Wire::with_room(8);
    let mut writer = open(&wire);
    writer.push(&[Bytes::from_static(b"payload")], Kind::Payload, Some(&wire), (LIMIT, &OPEN));
    terminate(&mut writer, b"killed", &wire);
    wire.room.set(100);
    assert_eq!(writer.flush(&wire, &OPEN), Next::Over);
    assert_eq!(wire.text(), "head;pay");
    assert!(wire.cut.get());
}

#[test]
fn a_kill_discards_what_waits_for_an_orderly_end() {
    let wire = Wire::with_room(5);
    let mut writer = open(&wire);
    writer.push(&[Bytes::from_static(b"payload")], Kind::Payload, Some(&wire), (LIMIT, &OPEN));
    drain(&mut writer, b"bye", &wire);
    assert!(!terminate(&mut writer, b"killed", &wire));
    wire.room.set(100);
    writer.flush(&wire, &OPEN);
    assert_eq!(wire.text(), "head;bye");
    assert_eq!((writer.tally().delivered, writer.tally().dropped), (1, 1));
}

#[test]
fn a_kill_completes_a_heartbeat() {
    let wire = Wire::with_room(6);
    let mut writer = open(&wire);
    writer.push(&[Bytes::from_static(b"::")], Kind::Control, Some(&wire), (LIMIT, &OPEN));
    writer.push(&[Bytes::from_static(b"payload")], Kind::Payload, Some(&wire), (LIMIT, &OPEN));
    terminate(&mut writer, b"killed", &wire);
    wire.room.set(100);
    writer.flush(&wire, &OPEN);
    assert_eq!(wire.text(), "head;::killed");
}

#[test]
fn a_kill_before_the_head_still_sends_the_head() {
    let wire = Wire::with_room(0);
    let mut writer = open(&wire);
    writer.push(&[Bytes::from_static(b"payload")], Kind::Payload, Some(&wire), (100, &OPEN));
    terminate(&mut writer, b"killed", &wire);
    wire.room.set(100);
    writer.flush(&wire, &OPEN);
    assert_eq!(wire.text(), "head;killed");
}

#[test]
fn an_orderly_end_sends_what_waits() {
    let wire = Wire::with_room(5);
    let mut writer = open(&wire);
    writer.push(&[Bytes::from_static(b"payload;")], Kind::Payload, Some(&wire), (LIMIT, &OPEN));
    drain(&mut writer, b"bye", &wire);
    wire.room.set(100);
    writer.flush(&wire, &OPEN);
    assert_eq!(wire.text(), "head;payload;bye");
}

#[test]
fn d25_a_full_outbox_cuts_the_connection() {
    let wire = Wire::with_room(5);
    let mut writer = open(&wire);
    assert_eq!(
        writer.push(&[Bytes::from_static(b"0123456789")], Kind::Payload, Some(&wire), (LIMIT, &OPEN)),
        Pushed::Taken
    );
    assert_eq!(
        writer.push(&[Bytes::from_static(b"x")], Kind::Payload, Some(&wire), (LIMIT, &OPEN)),
        Pushed::Overflow
    );
    assert!(wire.cut.get());
    assert_eq!(writer.reason(), Some(CloseReason::OutboxOverflow));
}

#[test]
fn one_large_frame_is_taken_where_nothing_waits() {
    let wire = Wire::with_room(5);
    let mut writer = open(&wire);
    assert_eq!(
        writer.push(&[Bytes::from(vec![b'x'; 10 * LIMIT])], Kind::Payload, Some(&wire), (LIMIT, &OPEN)),
        Pushed::Taken
    );
}

fn frames(texts: &[&'static str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
}

#[test]
fn several_frames_leave_in_one_write_and_the_rest_waits() {
    let wire = Wire::with_room(5);
    let mut writer = open(&wire);
    wire.room.set(7);
    wire.writes.set(0);
    let all = frames(&["one;", "two;", "three;"]);
    assert_eq!(writer.push(&all, Kind::Payload, Some(&wire), (LIMIT, &OPEN)), Pushed::Taken);
    assert_eq!((wire.text().as_str(), wire.writes.get()), ("head;one;two", 1));
    wire.room.set(100);
    assert_eq!(writer.flush(&wire, &OPEN), Next::Read);
    assert_eq!((wire.text().as_str(), wire.writes.get()), ("head;one;two;three;", 2));
    assert_eq!((writer.tally().delivered, writer.tally().dropped), (3, 0));
}

#[test]
fn d25_of_several_frames_those_without_room_are_lost_with_the_connection() {
    let wire = Wire::with_room(5);
    let mut writer = open(&wire);
    let all = frames(&["01234567", "01", "2", "3"]);
    assert_eq!(writer.push(&all, Kind::Payload, Some(&wire), (LIMIT, &OPEN)), Pushed::Overflow);
    assert!(wire.cut.get());
    assert_eq!((writer.tally().delivered, writer.tally().dropped), (2, 4));
}

#[test]
fn a_kill_never_completes_one_of_several_frames_and_discards_the_others() {
    let wire = Wire::with_room(5);
    let mut writer = open(&wire);
    wire.room.set(6);
    writer.push(&frames(&["one;", "two;", "six;"]), Kind::Payload, Some(&wire), (100, &OPEN));
    terminate(&mut writer, b"killed", &wire);
    wire.room.set(100);
    assert_eq!(writer.flush(&wire, &OPEN), Next::Over);
    assert_eq!(wire.text(), "head;one;tw");
}

#[derive(Clone, Debug)]
enum Step {
    Push(Vec<u8>),
    Room(usize),
    Beat,
    Leave,
    Kill,
}

proptest! {
    /// Over any pace of reading: before the kill the frames come in order and whole, after it no
    /// payload byte.
    #[test]
    fn nothing_after_the_kill(steps in prop::collection::vec(prop_oneof![
        prop::collection::vec(0u8..10, 1..5).prop_map(Step::Push), (0usize..20).prop_map(Step::Room),
        Just(Step::Beat), Just(Step::Leave), Just(Step::Kill)], 1..60)) {
        let wire = Wire::default();
        let mut writer = open(&wire);
        let mut sent = String::from("head;");
        let mut at_kill = None;
        for step in steps {
            match step {
                Step::Push(numbers) => {
                    let frames: Vec<_> = numbers.iter().map(|n| Bytes::from(format!("<{n}>"))).collect();
                    if writer.push(&frames, Kind::Payload, Some(&wire), (10_000, &OPEN)) == Pushed::Taken {
                        sent.extend(numbers.iter().map(|n| format!("<{n}>")));
                    }
                }
                Step::Room(room) => {
                    wire.room.set(wire.room.get() + room);
                    writer.flush(&wire, &OPEN);
                }
                Step::Beat => {
                    if writer.push(&[Bytes::from_static(b"::")], Kind::Control, Some(&wire), (10_000, &OPEN)) == Pushed::Taken {
                        sent.push_str("::");
                    }
                }
                Step::Leave => {
                    if drain(&mut writer, b"L", &wire) {
                        sent.push('L');
                    }
                }
                Step::Kill => {
                    let before = wire.text();
                    terminate(&mut writer, b"K", &wire);
                    at_kill.get_or_insert(before);
                }
            }
        }
        wire.room.set(10_000);
        writer.flush(&wire, &OPEN);
        let seen = wire.text();
        match at_kill {
            None => prop_assert_eq!(seen, sent),
            Some(before) => {
                prop_assert!(sent.starts_with(&before));
                // What is no payload may still come, the rest of the head and of a heartbeat first.
                let after = &seen[before.len()..];
                let after = after.trim_start_matches(|c| "head;".contains(c) && before.len() < 5);
                prop_assert!(after.bytes().all(|b| b":LK".contains(&b)), "after the kill: {after:?}");
                prop_assert!(!wire.cut.get() || after.is_empty(), "after the cut: {after:?}");
            }
        }
        prop_assert_eq!(writer.tally().late, 0);
    }
}

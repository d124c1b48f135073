//! A position, and any text that a client sends as its last id: the id of a position is read back,
//! also by a run that continues those up to it, no other text is, and nothing panics or takes
//! memory.
#![no_main]

use history::{EventPosition, IdKey, Ids, InvalidId, Lineage, Series};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;

fuzz_target!(|input: &[u8]| {
    let (number, text) = match input.split_first_chunk() {
        Some((number, text)) => (u64::from_be_bytes(*number), text),
        None => (input.len() as u64, input),
    };
    let key = IdKey::of_cookie("cookie");
    let [ours, others] = [1, 2].map(|series| Ids::new(&key, Series::from_bits(series)));
    let position = EventPosition(number);
    let id = ours.text(position);
    match number <= EventPosition::MAX.0 {
        true => {
            assert_eq!(ours.read(id.as_str()), Ok(position));
            assert_eq!(others.read(id.as_str()), Err(InvalidId::Elsewhere(ours.series())));
        }
        false => assert_eq!(ours.read(id.as_str()), Err(InvalidId::Unknown)),
    }
    let end = EventPosition(EventPosition::MAX.0 / 2);
    let next = Ids::new(&key, Lineage::from(ours.series()).continued(end));
    match next.read(id.as_str()) {
        Ok(read) => assert!(read == position && position <= end),
        Err(error) => assert!(position > end, "{error}"),
    }
    let text = String::from_utf8_lossy(text);
    match in_proportion(text.as_bytes(), || ours.read(&text)) {
        Ok(position) => assert_eq!(ours.text(position).as_str(), text),
        Err(InvalidId::Elsewhere(series)) => assert_ne!(series, ours.series()),
        Err(InvalidId::Unknown) => {}
    }
});

//! The limit of an event, compared with the outbox that it must fit in.

use super::*;

#[test]
fn f56_an_event_fits_an_outbox() {
    let sizes = |variables: &[(&str, &str)]| {
        parse(&[], variables).map(|settings| {
            (settings.rooms.connections.outbox_bytes, settings.rooms.connections.max_event_bytes)
        })
    };
    assert_eq!(sizes(&[]), Ok((1 << 20, 1 << 20)));
    assert_eq!(sizes(&[("OUTBOX_BYTES", "4KiB")]), Ok((4096, 4096)));
    assert_eq!(sizes(&[("OUTBOX_BYTES", "16MiB")]), Ok((16 << 20, 16 << 20)));
    assert_eq!(sizes(&[("MAX_EVENT_BYTES", "1KiB")]), Ok((1 << 20, 1024)));
    assert_eq!(sizes(&[("MAX_EVENT_BYTES", "1MiB")]), Ok((1 << 20, 1 << 20)));
    assert_eq!(
        sizes(&[("OUTBOX_BYTES", "4KiB"), ("MAX_EVENT_BYTES", "4097")]).unwrap_err(),
        "environment MAX_EVENT_BYTES = \"4097\": more than OUTBOX_BYTES; expected at most 4096\n"
    );
    assert!(sizes(&[("MAX_EVENT_BYTES", "1048577")]).unwrap_err().contains("at most 1048576"));
    for wrong in ["0", "1023", "2GiB", "1KB", "-1"] {
        assert!(sizes(&[("MAX_EVENT_BYTES", wrong)]).unwrap_err().contains("from 1KiB to 1GiB"), "{wrong}");
    }
}

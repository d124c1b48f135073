//! Which events are kept for clients that come back.

use super::{GIB, Group, KIB, bytes, setting, text};

pub(super) const GROUP: Group = Group {
    heading: "History",
    settings: &[
        setting(
            "HISTORY",
            "2m",
            text("TIME", "off, or a time from 1s to 1d, such as 90s, 2m or bare seconds"),
            "How long events are kept for clients that come back; off: none is kept, and events have no ids, as in RIG",
        ),
        // The hash table of the keys is allocated at the start, in proportion.
        setting(
            "HISTORY_BYTES",
            "16MiB",
            bytes(64 * KIB, 64 * GIB),
            "The memory of the events that are kept, with all that is stored beside them; at the bound the oldest go",
        ),
        setting(
            "HISTORY_EXCLUDE",
            "",
            text("TYPES", "event types by commas, such as cursor.moved,prices.tick"),
            "Types of events that are not kept, such as those that come often and do not matter later",
        ),
    ],
};

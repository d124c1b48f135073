//! Any record of Kinesis, and any message of KPL that is sealed as KPL does: what is taken apart is
//! not longer than the record.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use md5::{Digest, Md5};
use rig_fuzz::in_proportion;

const MAGIC: &[u8] = b"\xf3\x89\x9a\xc2";

fuzz_target!(|input: &[u8]| {
    // A random input never has the right MD5.
    let sealed = [MAGIC, input, &Md5::digest(input)[..]].concat();
    for record in [Bytes::copy_from_slice(input), sealed.into()] {
        let read =
            || event::kpl::records(&record).map(|parts| parts.map(|part| part.len()).collect::<Vec<_>>());
        if let Some(parts) = in_proportion(&record, read) {
            // Before each part are at least four bytes. The magic number and the MD5 have 20.
            assert!(parts.iter().sum::<usize>() + 4 * parts.len() + 20 <= record.len());
        }
    }
});

//! Which partition an event goes to.

use rdkafka::producer::Partitioner as Choose;

/// How the partition of an event with a key is chosen. One without a key goes to any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partitioner {
    /// As the clients of Kafka for Java do: by MurmurHash2.
    #[default]
    Murmur2,
    /// As RIG does: by MurmurHash3.
    Rig,
}

/// RIG's way.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByMurmur3;

impl Choose for ByMurmur3 {
    fn partition(&self, _: &str, key: Option<&[u8]>, count: i32, _: impl Fn(i32) -> bool) -> i32 {
        partition(key, count)
    }
}

/// Returns the partition out of `count` that RIG sends an event with this key to (b34).
fn partition(key: Option<&[u8]>, count: i32) -> i32 {
    let count = u32::try_from(count).unwrap_or(1).max(1);
    let chosen = match key {
        Some(key) => murmur3(key) % count,
        None => fastrand::u32(..count),
    };
    chosen.try_into().expect("less than the count, which was an i32")
}

/// MurmurHash3 for x86 in 32 bits, with the seed 0.
fn murmur3(key: &[u8]) -> u32 {
    fn mixed(block: u32) -> u32 {
        block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
    }
    let (blocks, rest) = key.as_chunks::<4>();
    let mut hash = 0_u32;
    for block in blocks {
        hash ^= mixed(u32::from_le_bytes(*block));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    hash ^= mixed(u32::from_le_bytes(last));
    // The length is part of the hash as 32 bits, whatever it is.
    hash ^= key.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_have_known_hashes() {
        let vectors: [(&[u8], u32); 12] = [
            (b"", 0),
            (b"\0", 0x514e_28b7),
            (b"\0\0", 0x30f4_c306),
            (b"\0\0\0", 0x85f0_b427),
            (b"\0\0\0\0", 0x2362_f9de),
            (b"\xff\xff\xff\xff", 0x7629_3b50),
            (b"!", 0x7266_1cf4),
            (b"!C", 0xa0f7_b07a),
            (b"!Ce", 0x7e4a_8634),
            (b"!Ce\x87", 0xf55b_516b),
            (b"Hello, world!", 0xc036_3e43),
            (b"The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur3(key), hash, "{key:?}");
        }
    }

    #[test]
    fn b34_rig_chose_by_the_unsigned_remainder() {
        // 0xc0363e43 is negative as an i32.
        assert_eq!(partition(Some(b"Hello, world!"), 7), (0xc036_3e43_u32 % 7) as i32);
        assert_eq!(partition(Some(b""), 7), 0);
    }

    #[test]
    fn events_without_a_key_go_to_all_partitions() {
        let mut seen = [false; 3];
        for _ in 0..1_000 {
            seen[partition(None, 3) as usize] = true;
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn no_count_is_too_small() {
        for count in [i32::MIN, -1, 0, 1] {
            assert_eq!(partition(Some(b"key"), count), 0);
            assert_eq!(partition(None, count), 0);
        }
    }
}

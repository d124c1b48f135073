//! The aggregation of the Kinesis Producer Library (KPL): one record of Kinesis that carries
//! several of a user.
//!
//! Such a record is the magic number `F3 89 9A C2`, a message of Protocol Buffers, and its MD5. In
//! the message, field 1 repeats partition keys, field 2 explicit hash keys, and field 3 the
//! records, whose own field 3 is their data. What does not have this form completely is an ordinary
//! record.
//!
//! The library of consumers drops a whole record if one of its keys belongs to another shard, since
//! KPL sends such data again. Other programs that aggregate do not, so nothing is dropped here.

use bytes::{Buf, Bytes};
use md5::{Digest, Md5};

/// What an aggregated record begins with.
const MAGIC: &[u8] = &[0xF3, 0x89, 0x9A, 0xC2];

/// Length of the MD5 at the end.
const DIGEST: usize = 16;

/// The field of the message that repeats records.
const RECORDS: u64 = 3;

/// The field of a record that holds its data.
const DATA: u64 = 3;

/// The data of the records in an aggregated one, in order. They share its memory.
#[derive(Clone, Debug)]
pub struct Records(Fields);

/// Returns the records in an aggregated one; `None` if it is an ordinary record.
pub fn records(record: &Bytes) -> Option<Records> {
    let content = record.strip_prefix(MAGIC)?;
    let (message, digest) = content.split_at_checked(content.len().checked_sub(DIGEST)?)?;
    if Md5::digest(message)[..] != *digest {
        return None;
    }
    let records = Records(Fields(record.slice_ref(message)));
    let is_well_formed = records.0.clone().all(|field| match field {
        Ok((RECORDS, value)) => data_of(value).is_ok(),
        other => other.is_ok(),
    });
    is_well_formed.then_some(records)
}

impl Iterator for Records {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            // All fields were read once before.
            match self.0.next()?.ok()? {
                (RECORDS, value) => return data_of(value).ok(),
                _ => continue,
            }
        }
    }
}

/// Returns the data of a record. If it is given more than once, the last counts, as in all
/// messages.
fn data_of(record: Option<Bytes>) -> Result<Bytes, Malformed> {
    let mut data = None;
    for field in Fields(record.ok_or(Malformed)?) {
        if let (DATA, value) = field? {
            data = Some(value.ok_or(Malformed)?);
        }
    }
    data.ok_or(Malformed)
}

/// The bytes are no message of Protocol Buffers, or lack what is required.
#[derive(Clone, Copy, Debug)]
struct Malformed;

/// The fields of a message: their numbers, and the values of those that have a length. The first
/// error is the last item.
#[derive(Clone, Debug)]
struct Fields(Bytes);

impl Iterator for Fields {
    type Item = Result<(u64, Option<Bytes>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0.clear();
        }
        Some(field)
    }
}

impl Fields {
    fn read(&mut self) -> Result<(u64, Option<Bytes>), Malformed> {
        let tag = self.number()?;
        let (field, kind) = (tag >> 3, tag & 7);
        if field == 0 {
            return Err(Malformed);
        }
        let value = match kind {
            0 => self.number().map(|_| None)?,
            1 => self.take(8).map(|_| None)?,
            2 => {
                let length = self.number()?;
                Some(self.take(length.try_into().map_err(|_| Malformed)?)?)
            }
            5 => self.take(4).map(|_| None)?,
            // Groups, which the message does not have, and what does not exist.
            _ => return Err(Malformed),
        };
        Ok((field, value))
    }

    fn take(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if length > self.0.len() {
            return Err(Malformed);
        }
        Ok(self.0.split_to(length))
    }

    /// Reads a number of 7 bits in each byte, the lowest first, of at most 64 bits.
    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.0.try_get_u8().map_err(|_| Malformed)?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                return Err(Malformed);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = value.len();
        while length > 0x7F {
            out.push((length & 0x7F) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend(value);
        out
    }

    /// Returns a record with a partition key by index, and one more field.
    fn record(data: &[u8]) -> Vec<u8> {
        field(3, &[&[0x08, 0x00][..], &field(3, data), &field(4, &field(1, b"tag"))].concat())
    }

    fn sealed(message: &[u8]) -> Bytes {
        [MAGIC, message, &Md5::digest(message)[..]].concat().into()
    }

    fn read(record: &Bytes) -> Option<Vec<Bytes>> {
        Some(records(record)?.collect())
    }

    #[test]
    fn the_records_come_out_in_order() {
        let long = vec![b'x'; 300];
        let keys = [field(1, b"key"), field(2, b"12345")].concat();
        let message = [keys, record(b"one"), record(&long), record(b"")].concat();
        assert_eq!(read(&sealed(&message)).unwrap(), [&b"one"[..], &long, b""]);
        assert_eq!(read(&sealed(b"")).unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_not_aggregated_is_an_ordinary_record() {
        let message = record(b"one");
        let mut changed = sealed(&message).to_vec();
        *changed.last_mut().unwrap() ^= 1;
        let mut other_magic = sealed(&message).to_vec();
        other_magic[0] = b'{';
        for plain in [&b""[..], b"{}", MAGIC, &sealed(b"")[..19], &changed, &other_magic] {
            assert_eq!(read(&Bytes::copy_from_slice(plain)), None, "{plain:?}");
        }
        for malformed in [
            &b"\x1a"[..],                                                // no length
            b"\x1a\x04abc",                                              // less than the length
            b"\x18\x01",                                                 // a record that is a number
            b"\x1a\x02\x08\x00",                                         // a record without data
            b"\x1a\x02\x18\x00",                                         // data that is a number
            b"\x00\x00",                                                 // no field
            b"\x0b\x0c",                                                 // a group
            b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",             // 2^64 - 1 bytes
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",             // a number of 65 bits
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", // a longer one
            b"\x09\x00",                                                 // less than 8 bytes
        ] {
            let message = [&record(b"one"), malformed].concat();
            assert_eq!(read(&sealed(&message)), None, "{malformed:?}");
        }
    }

    #[test]
    fn fields_that_are_not_known_are_skipped() {
        let unknown = [&b"\x48\x80\x01"[..], b"\x51\0\0\0\0\0\0\0\0", b"\x5d\0\0\0\0", &field(12, b"x")];
        let message = [unknown.concat(), record(b"one")].concat();
        assert_eq!(read(&sealed(&message)).unwrap(), ["one"]);
    }
}

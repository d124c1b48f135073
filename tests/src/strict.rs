//! Requests as a service must see them: by the letter of RFC 9112, with nothing that another could
//! read in another way.

/// The requests that these bytes are, read by the letter; an error where one of them could be read
/// in another way.
///
/// # Errors
/// What is wrong with them.
pub fn requests(mut bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        let fault =
            |what: &str| format!("{what} in what the service has seen: {:?}", String::from_utf8_lossy(bytes));
        let end =
            bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or(fault("no end of a head"))?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| fault("no ASCII"))?;
        bytes = &bytes[end + 4..];
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let fields: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
        if head.replace("\r\n", "").contains(['\r', '\n', '\0'])
            || fields.len() + 1 != head.split("\r\n").count()
        {
            return Err(fault("a line that is none"));
        }
        let all = |name: &str| -> Vec<&str> {
            fields.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value).collect()
        };
        if all("host").len() != 1 {
            return Err(fault("no single Host"));
        }
        let body = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
            ([], []) => Vec::new(),
            ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                let length = length.parse().map_err(|_| fault("no length"))?;
                let body = bytes.get(..length).ok_or(fault("no whole body"))?.to_vec();
                bytes = &bytes[length..];
                body
            }
            ([], ["chunked"]) => unchunked(&mut bytes).ok_or(fault("no whole chunked body"))?,
            _ => return Err(fault("an ambiguous length")),
        };
        requests.push((line.to_owned(), String::from_utf8_lossy(&body).into_owned()));
    }
    Ok(requests)
}

/// A chunked body, with its trailers in braces behind it.
fn unchunked(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        *bytes = &bytes[end + 2..];
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(..size)?);
        *bytes = bytes[size..].strip_prefix(b"\r\n")?;
    }
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let trailer = &bytes[..end];
        *bytes = &bytes[end + 2..];
        if trailer.is_empty() {
            return Some(body);
        }
        body.extend_from_slice(b"{");
        body.extend_from_slice(trailer);
        body.extend_from_slice(b"}");
    }
}

//! A strict parser (RFC 9112) for the requests that a service receives. It refuses everything that
//! another server could read differently.

/// Parses the bytes as requests. An ambiguous request is an error.
///
/// # Errors
/// Fails with a description of the first fault.
pub fn requests(mut bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        let fault = |what: &str| {
            format!("{what} in the bytes that the service has received: {:?}", String::from_utf8_lossy(bytes))
        };
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
            return Err(fault("an invalid line"));
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
                let body = bytes.get(..length).ok_or(fault("an incomplete body"))?.to_vec();
                bytes = &bytes[length..];
                body
            }
            ([], ["chunked"]) => unchunked(&mut bytes).ok_or(fault("an incomplete chunked body"))?,
            _ => return Err(fault("an ambiguous length")),
        };
        requests.push((line.to_owned(), String::from_utf8_lossy(&body).into_owned()));
    }
    Ok(requests)
}

/// Decodes a chunked body. Its trailers are appended in braces.
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

//! The two text formats of `/metrics`, and the choice between them.

use http::HeaderMap;
use http::header::ACCEPT;
use metric::Registry;

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus text 0.0.4, which every scraper reads.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Exposition {
    /// Returns the value of `content-type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Returns all metrics of a registry as text.
    pub fn text(self, registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry)
            .expect("writing to a String cannot fail");
        match self {
            Self::OpenMetrics => text,
            Self::Prometheus => to_prometheus(&text),
        }
    }

    /// Returns what the scraper prefers (RFC 9110, section 12.5.1): OpenMetrics only if it names it
    /// and does not rank text higher. A scraper that accepts neither gets text, since that is
    /// better than no metrics.
    pub fn negotiate(headers: &HeaderMap) -> Self {
        let mut openmetrics = 0;
        // The most specific range counts for text: `text/plain`, then `text/*`, then `*/*`.
        let mut text = (0, 0);
        let values = headers.get_all(ACCEPT).iter();
        let elements = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        // Element by element: one that cannot be parsed does not hide the others.
        for range in elements.filter_map(|element| str::from_utf8(element).ok()) {
            let Some((media, version, weight)) = parse_range(range) else { continue };
            let specific = match media.as_str() {
                "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => {
                    openmetrics = openmetrics.max(weight);
                    continue;
                }
                "text/plain" if version.is_none_or(|version| version == "0.0.4") => 3,
                "text/*" => 2,
                "*/*" => 1,
                _ => continue,
            };
            text = text.max((specific, weight));
        }
        if openmetrics > 0 && openmetrics >= text.1 { Self::OpenMetrics } else { Self::Prometheus }
    }
}

/// Returns the media range in lower case, its version, and its weight in thousandths. `None` if it
/// cannot be parsed.
fn parse_range(range: &str) -> Option<(String, Option<&str>, u16)> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    let (mut version, mut weight) = (None, 1000);
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        match name.trim() {
            name if name.eq_ignore_ascii_case("version") => version = Some(value),
            name if name.eq_ignore_ascii_case("q") => {
                let share: f32 = value.parse().ok().filter(|share| (0.0..=1.0).contains(share))?;
                weight = (share * 1000.0).round() as u16;
            }
            _ => {}
        }
    }
    Some((media, version, weight))
}

/// Converts OpenMetrics to Prometheus text 0.0.4, where a counter has the name of its sample
/// (`…_total`), and neither units nor the end of the text are marked. A gauge whose name ends in
/// `…_total` (RIG's) gets no type, since tools expect a counter of this name.
fn to_prometheus(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        if line.starts_with("# HELP ") {
            help = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' '));
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        {
            let total = if kind == "counter" { "_total" } else { "" };
            let kind = match kind {
                "gauge" if name.ends_with("_total") => "untyped",
                "unknown" => "untyped",
                kind => kind,
            };
            if let Some((_, help)) = help.take() {
                text.extend(["# HELP ", name, total, " ", help, "\n"]);
            }
            text.extend(["# TYPE ", name, total, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(accept: &[&'static str]) -> Exposition {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        Exposition::negotiate(&headers)
    }

    #[test]
    fn f30_the_scraper_chooses_the_format() {
        let openmetrics: [&[&str]; 8] = [
            &["application/openmetrics-text"],
            &["application/openmetrics-text; version=1.0.0"],
            &["Application/OpenMetrics-Text;Version=\"1.0.0\";charset=utf-8"],
            &["application/openmetrics-text, */*"],
            &["application/openmetrics-text;q=0.2, */*;q=0.1"],
            &["text/plain;q=0.3", "application/openmetrics-text;version=1.0.0;q=0.5"],
            &["text/plain;q=0.1, */*, application/openmetrics-text;q=0.5"],
            // Prometheus 2.42 and 3.
            &[
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            ],
        ];
        for accept in openmetrics {
            assert_eq!(negotiated(accept), Exposition::OpenMetrics, "{accept:?}");
        }
        let text: [&[&str]; 14] = [
            &[],
            &[""],
            &["*/*"],
            &["text/plain"],
            &["text/plain;version=0.0.4"],
            &["text/html, */*;q=0.8"],
            &["application/json"],
            &["application/*"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=2"],
            &["application/openmetrics-text;version=2.0.0, */*"],
            &["application/openmetrics-text;version=0.0.1, text/plain"],
            &["application/openmetrics-text;q=0.5, text/plain"],
            &["application/openmetrics-text;q=0.4, text/*;q=0.5"],
        ];
        for accept in text {
            assert_eq!(negotiated(accept), Exposition::Prometheus, "{accept:?}");
        }
    }
}

//! Measures the cost of finding the endpoint of a request among 10 to 10,000: `route_cost`. Each
//! line is a kind of pattern, with the time to compile all patterns and to find their overlaps, and
//! the nanoseconds for a path with an endpoint and for one without.

use std::hint::black_box;
use std::time::{Duration, Instant};

use http::Method;
use rig_proxy::{PathView, Pattern, PatternError, Routed, Routes};

/// Duration of each measurement.
const TIME: Duration = Duration::from_millis(200);

/// Number of different paths to look up.
const PATHS: usize = 256;

/// A kind of pattern: its name, a pattern and a path of it, where `#` is the number of the
/// endpoint.
const KINDS: [(&str, &str, &str); 8] = [
    ("literal", "/api/v1/thing#", "/api/v1/thing#"),
    ("beginning", "/service-#/items/[^/]+", "/service-#/items/abc%20d"),
    ("beginning, all the rest", "/api/v1/thing#/.*", "/api/v1/thing#/a/b/c"),
    ("beginning within a segment", "/api/v1/thing-#-[a-z]+", "/api/v1/thing-#-abc"),
    ("end", "/[^/]+/thing#", "/abc/thing#"),
    ("middle", "/[^/]+/thing#/.*", "/abc/thing#/a/b/c"),
    ("same beginning, middle", "/user-[0-9]+/thing#/.*", "/user-17/thing#/a/b/c"),
    ("beginning, middle", "/api/v1/[^/]+/thing#/[0-9]+", "/api/v1/abc/thing#/123"),
];

struct Endpoint(Pattern);

impl Routed for Endpoint {
    fn method(&self) -> &Method {
        &Method::GET
    }

    fn pattern(&self) -> &Pattern {
        &self.0
    }
}

fn main() -> Result<(), PatternError> {
    println!(
        "{:28} {:>9} {:>12} {:>12} {:>12} {:>12}",
        "", "endpoints", "compiled ms", "overlaps ms", "found ns", "not found ns"
    );
    for (name, pattern, path) in KINDS {
        for count in [10, 100, 1_000, 10_000] {
            let of = |text: &str, number: usize| text.replace('#', &number.to_string());
            let start = Instant::now();
            let endpoints = (0..count).map(|number| Pattern::new(&of(pattern, number), None).map(Endpoint));
            let routes = Routes::new(endpoints.collect::<Result<_, _>>()?);
            let compiled = start.elapsed();
            let start = Instant::now();
            black_box(routes.overlaps());
            let overlaps = start.elapsed();
            let numbers = (0..PATHS).map(|at| at * 7919 % count);
            let paths: Vec<_> = numbers.map(|number| of(path, number)).collect();
            let others: Vec<_> = (0..PATHS).map(|at| of(path, count + at)).collect();
            let (found, not_found) = (cost(&routes, &paths), cost(&routes, &others));
            println!(
                "{name:28} {count:9} {:12.1} {:12.1} {found:12.0} {not_found:12.0}",
                compiled.as_secs_f64() * 1e3,
                overlaps.as_secs_f64() * 1e3
            );
        }
    }
    Ok(())
}

/// Returns the nanoseconds per path.
fn cost(routes: &Routes<Endpoint>, paths: &[String]) -> f64 {
    let (start, mut times) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        for path in paths {
            let _ = black_box(routes.choose(&Method::GET, &PathView::new(black_box(path))));
        }
        times += paths.len();
    }
    start.elapsed().as_nanos() as f64 / times as f64
}

//! What a proxied request costs, as a page of Markdown.

use std::path::Path;

use serde::Serialize;

use super::template;
use crate::machine::Testbed;
use crate::measure::cut::{self, CutRound};
use crate::measure::proxy::{self, Rounds, Run};
use crate::server::{Launch, Product};

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct ProxyRuns {
    machine: Testbed,
    plan: Rounds,
    runs: Vec<Run>,
    cuts: Vec<CutRound>,
}

/// What the page shows.
#[derive(Serialize)]
struct ProxyPage<'a> {
    #[serde(flatten)]
    results: &'a ProxyRuns,
    /// Connections of the session that is revoked.
    downloads: u32,
    tunnels: u32,
}

/// Measures and writes `proxy.md` and `proxy.json` into the folder.
///
/// # Errors
/// One of the runs fails, or the files cannot be written.
pub(crate) async fn run(launch: &Launch, plan: &Rounds, out: &Path) -> anyhow::Result<()> {
    let machine = Testbed::look(launch, &[Product::Rig, Product::Nginx, Product::Haproxy])?;
    let cuts = cut::run(launch, plan.rounds).await?;
    let runs = proxy::run(launch, plan)?;
    let results = ProxyRuns { machine, plan: plan.clone(), runs, cuts };
    super::write(out, "proxy", &results, page)
}

fn page(results: &ProxyRuns) -> anyhow::Result<String> {
    let page = ProxyPage { results, downloads: cut::DOWNLOADS, tunnels: cut::TUNNELS };
    template::render(include_str!("proxy.md.jinja"), page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::proxy::Contender;

    #[test]
    fn the_page_has_a_row_for_each_contender() {
        let plan = Rounds { rounds: 2, seconds: 1, endpoints: 100 };
        let contenders = [
            (Contender::Nginx, 10.0),
            (Contender::Haproxy, 12.0),
            (Contender::Open, 10.0),
            (Contender::Rewritten, 11.0),
            (Contender::Hs256, 12.0),
            (Contender::Es256, 11.0),
            (Contender::Many, 10.0),
        ];
        let runs = [(1, 1.0), (2, 2.0)].into_iter().flat_map(|(round, factor)| {
            contenders.map(|(subject, microseconds)| {
                let microseconds = microseconds * factor;
                Run { subject, round, requests: 1, microseconds, system_part: 0.75 }
            })
        });
        let cut = CutRound { answered_milliseconds: 1.0, last_cut_milliseconds: 2.0 };
        let page =
            page(&ProxyRuns { machine: Testbed::unknown(), plan, runs: runs.collect(), cuts: vec![cut] })
                .unwrap();
        for row in [
            "| haproxy | 18.00 (12.00–24.00) | 75 % | 1.20 (1.20–1.20) | 1.20 (1.20–1.20) |  |  |",
            "| gateway, open endpoint | 15.00 (10.00–20.00) | 75 % | 1.00 (1.00–1.00) | 1.00 (1.00–1.00) | ≤ 1 × nginx | met |",
            "| gateway, HS256 token | 18.00 (12.00–24.00) | 75 % | 1.20 (1.20–1.20) | 1.20 (1.20–1.20) | ≤ 1.1 × open | **missed** |",
            "| gateway, 100 endpoints more | 15.00 (10.00–20.00) | 75 % | 1.00 (1.00–1.00) | 1.00 (1.00–1.00) | ≤ 1.05 × open | met |",
        ] {
            assert!(page.contains(&format!("{row}\n")), "{row}: {page}");
        }
        assert!(
            page.ends_with(
                "Answered after 1.0 (1.0–1.0) ms; the last client was cut after 2.0 (2.0–2.0) ms.\n"
            )
        );
    }
}

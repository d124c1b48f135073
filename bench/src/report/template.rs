//! Pages from templates: the filters that turn runs into figures.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Serde, Value};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde::Serialize;

use crate::stats::Spread;

/// Returns the page that a template makes of these values.
///
/// # Errors
/// Fails if the template names something that the values do not have. The error names the line.
pub(super) fn render(template: &str, values: impl Serialize) -> anyhow::Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // A line that holds only a tag is left out of the page.
    let syntax =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?;
    environment.set_syntax(syntax);
    environment.add_filter("where", only);
    environment.add_filter("same", same);
    environment.add_filter("distinct", distinct);
    environment.add_filter("spread", spread);
    environment.add_filter("ratio", ratio);
    environment.add_filter("scaled", scaled);
    environment.add_filter("cell", cell);
    environment.add_filter("show", show);
    environment.add_filter("median", median);
    environment.add_filter("fixed", fixed);
    environment.add_filter("met", |yes: Value| if yes.is_true() { "met" } else { "**missed**" });
    environment.render_str(template, Serde(values)).map_err(|error| {
        let place = format!("line {}", error.line().unwrap_or_default());
        anyhow::Error::new(error).context(place)
    })
}

/// Keeps the runs whose fields have these values.
fn only(runs: Value, fields: Kwargs) -> Result<Vec<Value>, Error> {
    let wanted: Vec<(&str, Value)> =
        fields.args().map(|name| Ok((name, fields.get(name)?))).collect::<Result<_, Error>>()?;
    filtered(&runs, |run| {
        wanted.iter().try_fold(true, |all, (name, value)| Ok(all && run.get_attr(name)? == *value))
    })
}

/// Keeps the runs that agree with `other` in these fields.
fn same(runs: Value, other: Value, fields: Rest<String>) -> Result<Vec<Value>, Error> {
    filtered(&runs, |run| {
        fields.iter().try_fold(true, |all, name| Ok(all && run.get_attr(name)? == other.get_attr(name)?))
    })
}

fn filtered(runs: &Value, keep: impl Fn(&Value) -> Result<bool, Error>) -> Result<Vec<Value>, Error> {
    let mut kept = Vec::new();
    for run in runs.try_iter()? {
        if keep(&run)? {
            kept.push(run);
        }
    }
    Ok(kept)
}

/// Keeps the first run for each combination of these fields.
fn distinct(runs: Value, fields: Rest<String>) -> Result<Vec<Value>, Error> {
    let (mut known, mut first) = (Vec::new(), Vec::new());
    for run in runs.try_iter()? {
        let key: Vec<_> = fields.iter().map(|name| run.get_attr(name)).collect::<Result<_, _>>()?;
        if !known.contains(&key) {
            known.push(key);
            first.push(run);
        }
    }
    Ok(first)
}

/// Returns the values of a field; a dotted name selects a field of a field: `before.rss_kib`.
/// Without a field, `runs` are the values.
fn values(runs: &Value, field: Option<&str>) -> Result<Vec<f64>, Error> {
    let value = |run: Value| {
        let mut names = field.iter().flat_map(|field| field.split('.'));
        let value = names.try_fold(run, |value, name| value.get_attr(name))?;
        let error = || format!("{} is {value}, no number", field.unwrap_or("value"));
        f64::try_from(value.clone()).map_err(|_| Error::new(ErrorKind::InvalidOperation, error()))
    };
    runs.try_iter()?.map(value).collect()
}

/// Returns median and extremes of a field, multiplied by `factor`; `none` if there is no run.
fn spread(runs: Value, field: Option<&str>, factor: Option<f64>) -> Result<Option<Serde<Spread>>, Error> {
    let spread = Spread::of(values(&runs, field)?);
    Ok(spread.map(|spread| Serde(spread.scaled(factor.unwrap_or(1.0)))))
}

/// Returns median and extremes of the first runs' values divided by the others', round by round;
/// `none` if there is no round of both.
fn ratio(these: Value, others: Value, field: Option<&str>) -> Result<Option<Serde<Spread>>, Error> {
    let (these, others) = (values(&these, field)?, values(&others, field)?);
    Ok(Spread::of(these.iter().zip(others).map(|(this, other)| this / other)).map(Serde))
}

/// Returns a spread in another unit.
fn scaled(spread: Serde<Spread>, factor: f64) -> Serde<Spread> {
    Serde(spread.scaled(factor))
}

/// Writes the median with its extremes in brackets: without them if they are equal, nothing for
/// `none`.
fn cell(spread: Option<Serde<Spread>>, digits: usize) -> String {
    match spread {
        None => String::new(),
        Some(Serde(Spread { median, least, most })) if least == most => format!("{median:.digits$}"),
        Some(spread) => show(spread, digits),
    }
}

/// Writes the median with its extremes in brackets, even if they are equal.
fn show(spread: Serde<Spread>, digits: usize) -> String {
    let Spread { median, least, most } = *spread;
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

/// Writes the median with its unit behind and a text before it; nothing for `none`.
fn median(spread: Option<Serde<Spread>>, digits: usize, unit: Option<&str>, before: Option<&str>) -> String {
    let Some(Serde(Spread { median, .. })) = spread else { return String::new() };
    let median = if digits == 0 { median.round() } else { median };
    let unit = unit.map(|unit| format!(" {unit}")).unwrap_or_default();
    format!("{}{median:.digits$}{unit}", before.unwrap_or_default())
}

/// Writes a number with this many digits behind the point; `plus=true` also writes a plus sign.
fn fixed(number: f64, digits: usize, options: Kwargs) -> Result<String, Error> {
    let plus = options.get::<Option<bool>>("plus")?.unwrap_or_default();
    options.assert_all_used()?;
    Ok(if plus { format!("{number:+.digits$}") } else { format!("{number:.digits$}") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    struct Run {
        server: &'static str,
        time: f64,
    }

    fn page(template: &str) -> String {
        let run = |server, time| Run { server, time };
        let runs = [run("a", 1.0), run("b", 1.0), run("a", 4.0), run("b", 2.0), run("a", 9.0), run("b", 3.0)];
        render(template, std::collections::BTreeMap::from([("runs", runs)])).unwrap()
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let ratio = "{{ runs | where(server='a') | ratio(runs | where(server='b'), 'time') | cell(1) }}";
        assert_eq!(page(ratio), "2.0 (1.0–3.0)");
        assert_eq!(page("{{ [] | ratio(runs, 'time') | cell(1) }}"), "");
    }

    #[test]
    fn cells_have_brackets_only_for_different_values() {
        assert_eq!(page("{{ runs | where(server='a') | spread('time') | cell(2) }}"), "4.00 (1.00–9.00)");
        assert_eq!(page("{{ runs | distinct('server') | spread('time') | cell(2) }}"), "1.00");
        assert_eq!(page("{{ runs | distinct('server') | spread('time') | show(0) }}"), "1 (1–1)");
    }

    #[test]
    fn an_unknown_field_is_an_error_with_its_line() {
        let error = format!("{:#}", render("\n{{ runs.nothing }}", json!({"runs": {}})).unwrap_err());
        assert!(error.starts_with("line 2: "), "{error}");
    }
}

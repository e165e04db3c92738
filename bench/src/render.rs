//! Results for people: a table in Markdown and a plot in SVG, beside the JSON that they are made of.

use std::fmt::Write as _;

use serde_json::Value;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 130.0;
const ROW: f64 = 22.0;
const BAR: f64 = 14.0;
/// Where bars end at most; numbers follow.
const REACH: f64 = WIDTH - LEFT - 110.0;
const COLOURS: [&str; 3] = ["#2f6f9f", "#d98f3e", "#7a8b99"];

/// One row of bars: its name, the parts of its bar, and what is written behind it.
struct Row {
    name: String,
    parts: Vec<f64>,
    told: String,
}

/// A table of what was compared and one of what was revoked.
pub(crate) fn table(results: &Value) -> String {
    let mut text = String::new();
    if let Some(variants) = results["compare"]["variants"].as_array() {
        text.push_str("| way | requests/s | p50 µs | p99 µs | Envoy CPU µs | authorizer CPU µs | ledger CPU µs |\n|---|---|---|---|---|---|---|\n");
        for variant in variants {
            let number = |name: &str| variant[name].as_f64().unwrap_or(0.0);
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} |",
                name(variant),
                number("requests_per_second"),
                number("p50_us"),
                number("p99_us"),
                number("envoy_cpu_us"),
                number("authorizer_cpu_us"),
                number("ledger_cpu_us")
            );
        }
        for (pair, ratio) in results["compare"]["throughput"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, ratio)| ratio.is_number())
        {
            let _ = writeln!(text, "\nThroughput, {pair}: {ratio}.");
        }
    }
    let revocations = revocations(results);
    if !revocations.is_empty() {
        text.push_str(
            "\n| revocation, from its commit | p50 ms | p99 ms | most |\n|---|---|---|---|\n",
        );
        for (what, figures) in revocations {
            let number = |name: &str| figures[name].as_f64().unwrap_or(0.0);
            let _ = writeln!(
                text,
                "| {what} | {:.1} | {:.1} | {:.1} |",
                number("p50"),
                number("p99"),
                number("max")
            );
        }
    }
    text
}

/// Throughput, CPU time and revocations as bars.
pub(crate) fn plot(results: &Value) -> String {
    let mut panels: Vec<(String, Vec<Row>)> = Vec::new();
    let variants = results["compare"]["variants"].as_array();
    let rows = |make: &dyn Fn(&Value) -> Row| -> Vec<Row> {
        variants.into_iter().flatten().map(make).collect()
    };
    let number = |variant: &Value, name: &str| variant[name].as_f64().unwrap_or(0.0);
    panels.push((
        "requests a second".to_owned(),
        rows(&|variant| {
            let rate = number(variant, "requests_per_second");
            row(name(variant), vec![rate], format!("{rate:.0}"))
        }),
    ));
    panels.push((
        "CPU a request in µs: Envoy, the authorizer, the ledger".to_owned(),
        rows(&|variant| {
            let parts = ["envoy_cpu_us", "authorizer_cpu_us", "ledger_cpu_us"];
            let parts = parts.map(|part| number(variant, part));
            let told = format!("{:.0} + {:.0} + {:.0}", parts[0], parts[1], parts[2]);
            row(name(variant), parts.to_vec(), told)
        }),
    ));
    let revoked = revocations(results).into_iter().map(|(what, figures)| {
        let [p50, p99] = ["p50", "p99"].map(|figure| figures[figure].as_f64().unwrap_or(0.0));
        let told = format!("{p50:.1} and {p99:.1}");
        row(what, vec![p50, (p99 - p50).max(0.0)], told)
    });
    panels.push((
        "ms from the commit of a revocation: p50, then p99".to_owned(),
        revoked.collect(),
    ));
    panels.retain(|(_, rows)| !rows.is_empty());
    svg(&panels)
}

fn row(name: String, parts: Vec<f64>, told: String) -> Row {
    Row { name, parts, told }
}

fn name(variant: &Value) -> String {
    variant["variant"].as_str().unwrap_or("?").to_owned()
}

/// Every figure that counts from a commit, with what it is of.
fn revocations(results: &Value) -> Vec<(String, &Value)> {
    let ways = results["revocation"].as_object();
    let figures = ways.into_iter().flatten().flat_map(|(way, report)| {
        let figures = report.as_object().into_iter().flatten();
        figures.filter_map(move |(name, figure)| {
            let what = name.strip_prefix("commit_to_")?.strip_suffix("_ms")?;
            Some((format!("{way}: {}", what.replace('_', " ")), figure))
        })
    });
    figures.collect()
}

fn svg(panels: &[(String, Vec<Row>)]) -> String {
    let mut body = String::new();
    let mut top = 10.0;
    for (title, rows) in panels {
        let sum = |row: &Row| row.parts.iter().sum::<f64>();
        let most = rows.iter().map(sum).fold(f64::MIN_POSITIVE, f64::max);
        let _ = writeln!(
            body,
            r#"<text x="8" y="{:.0}" font-weight="bold">{title}</text>"#,
            top + BAR
        );
        top += ROW;
        for row in rows {
            // A long name stands above its bar.
            let long = row.name.len() > 16;
            let _ = writeln!(
                body,
                r#"<text x="8" y="{:.0}">{}</text>"#,
                top + BAR - 2.0,
                row.name
            );
            if long {
                top += ROW * 0.8;
            }
            let mut from = LEFT;
            for (part, colour) in row.parts.iter().zip(COLOURS) {
                let width = part / most * REACH;
                let _ = writeln!(
                    body,
                    r#"<rect x="{from:.1}" y="{top:.0}" width="{width:.1}" height="{BAR}" fill="{colour}"/>"#
                );
                from += width;
            }
            let _ = writeln!(
                body,
                r#"<text x="{:.1}" y="{:.0}">{}</text>"#,
                from + 6.0,
                top + BAR - 2.0,
                row.told
            );
            top += ROW;
        }
        top += ROW / 2.0;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_figure_is_in_the_table_and_in_the_plot() {
        let variant = |name: &str, rate: f64| {
            json!({
                "variant": name, "requests_per_second": rate, "p50_us": 1.0, "p99_us": 2.0,
                "envoy_cpu_us": 35.5, "authorizer_cpu_us": 99.0
            })
        };
        let results = json!({
            "compare": {
                "variants": [variant("plain", 27_883.0), variant("filter", 2_972.0)],
                "throughput": { "filter to plain": 0.107 }
            },
            "revocation": { "filter": {
                "revocations": 200,
                "commit_to_first_refusal_ms": { "p50": 6.7, "p99": 13.8, "max": 17.8 },
                "call_to_first_refusal_ms": { "p50": 8.4, "p99": 15.6, "max": 19.2 }
            }}
        });
        let (table, plot) = (table(&results), plot(&results));
        for told in ["27883", "2972", "filter: first refusal", "6.7", "13.8"] {
            assert!(table.contains(told), "{told}: {table}");
            assert!(plot.contains(told), "{told}: {plot}");
        }
        assert!(table.contains("filter to plain: 0.107"));
        assert!(!table.contains("8.4"), "from the call, not from the commit");
        let longest = plot
            .lines()
            .filter_map(|line| line.split("width=\"").nth(1));
        let widths: Vec<f64> = longest
            .filter_map(|rest| rest.split('"').next()?.parse().ok())
            .collect();
        assert!(widths.iter().all(|width| *width <= REACH), "{widths:?}");
        assert!(
            widths.contains(&REACH),
            "the largest bar is as long as can be"
        );
    }

    #[test]
    fn without_results_there_is_nothing_to_show() {
        assert_eq!(table(&json!({})), "");
        assert!(!plot(&json!({})).contains("<text"));
    }
}

//! The metrics of `/metrics` as OTLP.
//!
//! They are read off the text, so that a collector and Prometheus always have the same.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::OtlpSender;
use crate::config::OtlpSettings;
use crate::shutdown::Shutdown;

/// How long the last figures may take: a stop waits for nobody who does not answer.
const LAST_LIMIT: Duration = Duration::from_secs(2);

/// Sends what `read` gives, in the interval of `settings`, until the agent drains, and then once more. What
/// is on its way at the drain is given up: the last figures have all that it has.
pub async fn push_metrics<F: Future<Output = Option<String>>>(
    settings: &OtlpSettings,
    sender: &OtlpSender,
    shutdown: &Shutdown,
    read: impl Fn() -> F,
) {
    push_until(settings, sender, shutdown, read, LAST_LIMIT).await;
}

async fn push_until<F: Future<Output = Option<String>>>(
    settings: &OtlpSettings,
    sender: &OtlpSender,
    shutdown: &Shutdown,
    read: impl Fn() -> F,
    last_limit: Duration,
) {
    let url = format!("{}/v1/metrics", settings.endpoint);
    let begun = nanoseconds(SystemTime::now());
    let send = async || {
        if let Some(text) = read().await {
            let request = to_request(&text, &settings.service_name, begun, nanoseconds(SystemTime::now()));
            sender.post(&url, request.encode_to_vec()).await;
        }
    };
    let regularly = async {
        loop {
            tokio::time::sleep(settings.metrics_interval).await;
            send().await;
        }
    };
    tokio::select! {
        never = regularly => never,
        () = shutdown.draining() => {}
    }
    tokio::select! {
        // Late or not, nobody needs to know.
        _sent = tokio::time::timeout(last_limit, send()) => {}
        () = shutdown.aborting() => {}
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since: Duration = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// One family of the text.
#[derive(Debug, Default)]
struct Family<'t> {
    kind: &'t str,
    help: &'t str,
    unit: &'t str,
    samples: Vec<Sample<'t>>,
}

#[derive(Debug)]
struct Sample<'t> {
    /// What stands behind the name of the family: `_total`, `_bucket` and so on.
    suffix: &'t str,
    labels: Vec<(String, String)>,
    value: f64,
}

fn families(text: &str) -> Vec<(&str, Family<'_>)> {
    let mut families: Vec<(&str, Family<'_>)> = Vec::new();
    for line in text.lines() {
        let comment = line.strip_prefix("# ").and_then(|rest| {
            let (what, rest) = rest.split_once(' ')?;
            let (name, value) = rest.split_once(' ')?;
            Some((what, name, value))
        });
        if let Some((what, name, value)) = comment {
            if families.last().is_none_or(|(last, _)| *last != name) {
                families.push((name, Family::default()));
            }
            let family = &mut families.last_mut().expect("there is one now").1;
            match what {
                "TYPE" => family.kind = value,
                "HELP" => family.help = value,
                "UNIT" => family.unit = value,
                _ => {}
            }
            continue;
        }
        let Some((name, family)) = families.last_mut() else { continue };
        family.samples.extend(sample(line, name));
    }
    families
}

fn sample<'t>(line: &'t str, family: &str) -> Option<Sample<'t>> {
    let rest = line.strip_prefix(family)?;
    let end = rest.find(['{', ' '])?;
    let (suffix, rest) = rest.split_at(end);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    Some(Sample { suffix, labels, value: value.trim().parse().ok()? })
}

/// Reads `a="b",c="d"}` and returns what is behind it.
fn labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.trim_start_matches(',').split_once("=\"")?;
        let mut value = String::new();
        let mut letters = rest.char_indices();
        let end = loop {
            match letters.next()? {
                (_, '\\') => match letters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (place, '"') => break place,
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        text = &rest[end + 1..];
    }
}

fn to_request(text: &str, service: &str, begun: u64, now: u64) -> ExportMetricsServiceRequest {
    let metrics =
        families(text).into_iter().filter_map(|(name, family)| to_metric(name, &family, begun, now));
    let scope = InstrumentationScope {
        name: super::OWN.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let resource = Resource {
        attributes: vec![
            attribute("service.name", service),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
        ],
        ..Resource::default()
    };
    let scope_metrics =
        ScopeMetrics { scope: Some(scope), metrics: metrics.collect(), ..ScopeMetrics::default() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![scope_metrics],
            ..ResourceMetrics::default()
        }],
    }
}

fn to_metric(name: &str, family: &Family<'_>, begun: u64, now: u64) -> Option<Metric> {
    let cumulative = AggregationTemporality::Cumulative as i32;
    let points = || family.samples.iter().map(|sample| number(sample, begun, now)).collect();
    let data = match family.kind {
        "counter" => metric::Data::Sum(Sum {
            data_points: points(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        "gauge" => metric::Data::Gauge(Gauge { data_points: points() }),
        "histogram" => metric::Data::Histogram(Histogram {
            data_points: vec![histogram(family, begun, now)],
            aggregation_temporality: cumulative,
        }),
        _ => return None,
    };
    let unit = match family.unit {
        "seconds" => "s",
        "bytes" => "By",
        other => other,
    };
    Some(Metric {
        name: name.to_owned(),
        description: family.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

fn number(sample: &Sample<'_>, begun: u64, now: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: sample.labels.iter().map(|(name, value)| attribute(name, value)).collect(),
        start_time_unix_nano: begun,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    }
}

/// The only histogram has no labels, so that it has one point.
fn histogram(family: &Family<'_>, begun: u64, now: u64) -> HistogramDataPoint {
    let mut point = HistogramDataPoint {
        start_time_unix_nano: begun,
        time_unix_nano: now,
        ..HistogramDataPoint::default()
    };
    let mut buckets: BTreeMap<usize, (f64, u64)> = BTreeMap::new();
    for sample in &family.samples {
        match sample.suffix {
            "_sum" => point.sum = Some(sample.value),
            "_count" => point.count = count(sample.value),
            "_bucket" => {
                let bound = sample.labels.iter().find(|(name, _)| name == "le");
                let bound = bound.and_then(|(_, bound)| bound.parse().ok()).unwrap_or(f64::INFINITY);
                buckets.insert(buckets.len(), (bound, count(sample.value)));
            }
            _ => {}
        }
    }
    // Those of Prometheus count everything below their bound, these what lies between two.
    let mut below = 0;
    for (bound, cumulated) in buckets.into_values() {
        point.bucket_counts.push(cumulated.saturating_sub(below));
        below = cumulated;
        if bound.is_finite() {
            point.explicit_bounds.push(bound);
        }
    }
    point
}

/// Counts are whole numbers, and a float holds those of this agent exactly.
fn count(value: f64) -> u64 {
    format!("{value:.0}").parse().unwrap_or(0)
}

fn attribute(name: &str, value: &str) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Outcome;
    use crate::telemetry::{Gauges, Metrics};

    fn metric_of(request: &ExportMetricsServiceRequest, name: &str) -> Metric {
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name}")).clone()
    }

    #[test]
    fn everything_of_the_text_is_sent() {
        let metrics = Metrics::new();
        for milliseconds in [5, 5, 500] {
            metrics.attempt_ended(&Outcome::Cancelled, Duration::from_millis(milliseconds));
        }
        let gauges =
            Gauges { disk_free: [("a \"place\"\\".to_owned(), 5)].into(), workers: 4, ..Gauges::default() };
        let text = metrics.render(&gauges);
        let request = to_request(&text, "agent", 1, 2);
        let sent = &request.resource_metrics[0].scope_metrics[0].metrics;
        assert_eq!(sent.len(), text.lines().filter(|line| line.starts_with("# TYPE ")).count());

        let attempts = metric_of(&request, "data_exchange_agent_attempts");
        let Some(metric::Data::Sum(sum)) = attempts.data else { panic!("{attempts:?}") };
        assert!(sum.is_monotonic);
        let cancelled = attribute("outcome", "cancelled");
        let point = sum.data_points.iter().find(|point| point.attributes.contains(&cancelled)).unwrap();
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(3.0)));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));

        let disk = metric_of(&request, "data_exchange_agent_disk_free_bytes");
        assert_eq!(disk.unit, "By");
        let Some(metric::Data::Gauge(gauge)) = disk.data else { panic!("{disk:?}") };
        assert_eq!(gauge.data_points[0].attributes, [attribute("place", "a \"place\"\\")]);

        let duration = metric_of(&request, "data_exchange_agent_attempt_duration_seconds");
        let Some(metric::Data::Histogram(histogram)) = duration.data else { panic!("{duration:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>(), point.bucket_counts[0]), (3, 3, 2));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert!(point.sum.is_some_and(|sum| sum > 0.5));
    }

    #[tokio::test]
    async fn a_collector_that_takes_connections_and_does_not_answer_holds_no_stop() {
        let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = OtlpSettings {
            endpoint: format!("http://{}", collector.local_addr().unwrap()),
            timeout: Duration::from_secs(3_600),
            metrics_interval: Duration::from_millis(1),
            headers: Vec::new(),
            service_name: "agent".to_owned(),
            traces: false,
            metrics: true,
        };
        let patience = Duration::from_secs(60);
        for (is_aborted, last_limit) in [(false, Duration::from_millis(1)), (true, settings.timeout)] {
            let (shutdown, requests) = (Shutdown::new(), Shutdown::new());
            let sender = OtlpSender::new(&settings, &requests).unwrap();
            let asked = std::cell::Cell::new(0);
            let read = async || {
                asked.set(asked.get() + 1);
                Some(Metrics::new().render(&Gauges::default()))
            };
            let stop = async {
                while asked.get() == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                shutdown.begin_drain();
                while is_aborted && asked.get() == 1 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                if is_aborted {
                    shutdown.begin_abort();
                }
            };
            let push = push_until(&settings, &sender, &shutdown, read, last_limit);
            let ended = tokio::time::timeout(patience, async { tokio::join!(push, stop) }).await;
            assert!(ended.is_ok(), "the stop waits for the collector");
            assert!(requests.finished(patience).await, "a request is left on its way");
        }
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        for line in ["", "# EOF", "x", "x{a=\"b\" 1", "x{a=\"b\\", "x one", "y 1"] {
            assert!(sample(line, "x").is_none(), "{line}");
        }
        assert!(families("no family 1\n").is_empty());
    }
}

//! Names and words of RIG and OpenTelemetry.

use super::*;

#[test]
fn f70_words_are_taken_in_any_case_and_by_the_names_of_rig() {
    let level = |word: &str| parse(&[], &[("LOG_LEVEL", word)]).map(|settings| settings.log_level);
    for (words, expected) in [
        (&["error", "ERROR", "critical", "Emergency", "alert"][..], Level::ERROR),
        (&["warn", "WARN", "warning", "Warning"], Level::WARN),
        (&["info", "INFO", "notice"], Level::INFO),
        (&["debug", "Debug"], Level::DEBUG),
        (&["trace", "TRACE"], Level::TRACE),
    ] {
        for word in words {
            assert_eq!(level(word), Ok(expected), "{word}");
        }
    }
    for wrong in ["1", "warm", "off", " "] {
        assert!(level(wrong).unwrap_err().contains("expected error, warn, info, debug or trace"), "{wrong}");
    }
    let format = |word: &str| parse(&[], &[("LOG_FMT", word)]).map(|settings| settings.log_format);
    for (word, expected) in [
        ("JSON", LogFormat::Json),
        ("Json", LogFormat::Json),
        ("GCL", LogFormat::Gcl),
        ("erlang", LogFormat::Text),
        ("Erlang", LogFormat::Text),
        ("TEXT", LogFormat::Text),
    ] {
        assert_eq!(format(word), Ok(expected), "{word}");
    }
    assert!(format("elixir").is_err());
    let others =
        [("TOKEN_EXPIRY", "IGNORE"), ("OTEL_TRACES_SAMPLER", "Always_Off"), ("REQUEST_LOG", "Console")];
    for (name, word) in others {
        assert!(parse(&[], &[(name, word)]).is_ok(), "{name}");
    }
}

#[test]
fn f73_a_variable_that_has_a_successor_names_it() {
    let warning = |name: &str| parse(&[], &[(name, "x")]).unwrap().warnings.join("\n");
    for (name, instead) in [
        ("JAEGER_HOST", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("JAEGER_PORT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("JAEGER_SERVICE_NAME", "OTEL_SERVICE_NAME"),
        ("ZIPKIN_ADDR", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("ZIPKIN_SERVICE_NAME", "OTEL_SERVICE_NAME"),
        ("API_PORT", "API_HTTP_PORT"),
        ("JWT_BLACKLIST_DEFAULT_EXPIRY_HOURS", "validityInSeconds"),
        ("JWT_USER_FIELD", "EXTRACTORS"),
        ("RATE_LIMIT_ENABLED", "rate_limit"),
        ("KAFKA_GROUP_ID", "KAFKATOFILTER_KAFKA_GROUP_ID"),
        ("KAFKA_ENABLED", "KAFKA_BROKERS"),
        ("PROXY_KAFKA_REQUEST_TOPIC", "topic of the endpoints"),
        ("PROXY_KAFKA_RESPONSE_KAFKA_GROUP_ID", "no group"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ignored"),
        ("OTEL_PROPAGATORS", "ignored"),
        ("OTEL_METRICS_EXPORTER", "ignored"),
    ] {
        let told = warning(name);
        assert!(told.contains(&format!("environment {name}: ")) && told.contains(instead), "{told}");
    }
    for harmless in [
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
        ("OTEL_PROPAGATORS", "tracecontext,baggage"),
        ("OTEL_PROPAGATORS", " TraceContext "),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_COLLECTOR_SERVICE_HOST", "10.0.0.1"),
        ("OTEL_COLLECTOR_PORT_4317_TCP", "tcp://10.0.0.1:4317"),
        ("OTEL_CONFIG_FILE", ""),
        ("JAEGER_HOST", ""),
    ] {
        assert_eq!(parse(&[], &[harmless]).unwrap().warnings, [""; 0], "{harmless:?}");
    }
}

#[test]
fn f31_propagators_that_are_not_obeyed_are_named() {
    for value in ["baggage", "b3", "tracecontext,b3", "none", "jaeger, baggage", "xray", ","] {
        let told = parse(&[], &[("OTEL_PROPAGATORS", value)]).unwrap().warnings.join("\n");
        assert!(
            told.contains("environment OTEL_PROPAGATORS: ") && told.contains("ignored"),
            "{value}: {told}"
        );
    }
}

#[test]
fn f31_a_batch_is_no_larger_than_the_queue() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318");
    let of = |queue: &'static str, batch: &'static str| {
        let sizes = [("OTEL_BSP_MAX_QUEUE_SIZE", queue), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", batch)];
        let given: Vec<_> =
            [endpoint].into_iter().chain(sizes.into_iter().filter(|(_, n)| !n.is_empty())).collect();
        let settings = parse(&[], &given).unwrap();
        let spans = settings.rooms.spans.unwrap();
        (spans.queue, spans.batch, settings.warnings.join("\n"))
    };
    let told = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE = 20 is lowered to 10, which is OTEL_BSP_MAX_QUEUE_SIZE";
    assert_eq!(of("10", "20"), (10, 10, told.to_owned()));
    assert_eq!(of("10", "10"), (10, 10, String::new()));
    assert_eq!(of("10", ""), (10, 10, String::new()));
    assert_eq!(of("", "512"), (2048, 512, String::new()));
    assert!(of("", "4096").2.contains("lowered to 2048"));
}

#[test]
fn f31_the_settings_of_opentelemetry_are_obeyed_or_refused() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318");
    let spans = |variables: &[(&str, &str)]| {
        parse(&[], &[&[endpoint], variables].concat()).map(|settings| settings.rooms.spans)
    };
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        assert!(spans(&[off]).unwrap().is_none(), "{off:?}");
        // An unused setting is not a mistake.
        assert!(spans(&[off, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap().is_none());
    }
    for on in [("OTEL_SDK_DISABLED", "false"), ("OTEL_SDK_DISABLED", ""), ("OTEL_TRACES_EXPORTER", "OTLP")] {
        assert!(spans(&[on]).unwrap().is_some(), "{on:?}");
    }
    let by_default = parse(&[], &[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap().rooms.spans.unwrap();
    assert_eq!(by_default.endpoint, "http://localhost:4318/v1/traces");
    for (name, wrong) in [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_EXPORTER", "otlp,console"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "br"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "99999999999"),
        ("OTEL_BSP_SCHEDULE_DELAY", "often"),
    ] {
        let told = spans(&[(name, wrong)]).unwrap_err();
        assert!(told.contains(name) && told.contains("expected "), "{told}");
    }
    let specific = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "HTTP/protobuf");
    assert!(spans(&[specific, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap().is_some());
    let config = spans(&[
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x=general"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x=specific"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
    ]);
    let config = config.unwrap().unwrap();
    assert_eq!((config.timeout, config.gzip, config.queue), (Duration::from_millis(2500), true, 10));
    assert_eq!(config.headers["x"], "specific");
}

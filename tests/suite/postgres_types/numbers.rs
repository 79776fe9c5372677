//! Booleans and numbers, and what a number cannot be.

use super::*;

#[tokio::test]
async fn booleans_and_integers() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    check(&database, "boolean", DataType::Boolean, &[("true", "true"), ("false", "false")]).await;
    let values = [("-32768", "-32768"), ("0", "0"), ("32767", "32767")];
    check(&database, "smallint", DataType::Int16, &values).await;
    let values = [("-2147483648", "-2147483648"), ("0", "0"), ("2147483647", "2147483647")];
    check(&database, "integer", DataType::Int32, &values).await;
    let values = [
        ("-9223372036854775808", "-9223372036854775808"),
        ("-1", "-1"),
        ("9223372036854775807", "9223372036854775807"),
    ];
    check(&database, "bigint", DataType::Int64, &values).await;
    check(&database, "oid", DataType::Int64, &[("0", "0"), ("4294967295", "4294967295")]).await;
}

#[tokio::test]
async fn floats_are_the_same_bits() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let values = [
        ("'NaN'", "NaN"),
        ("'Infinity'", "Infinity"),
        ("'-Infinity'", "-Infinity"),
        ("0", "0"),
        ("'-0'", "-0"),
        ("0.1", "0.1"),
        ("'1e-45'", "1e-45"),
        ("'1.1754944e-38'", "1.1754944e-38"),
        ("'-3.4028235e38'", "-3.4028235e38"),
    ];
    check(&database, "real", DataType::Float32, &values).await;
    let values = [
        ("'NaN'", "NaN"),
        ("'Infinity'", "Infinity"),
        ("'-Infinity'", "-Infinity"),
        ("0", "0"),
        ("'-0'", "-0"),
        ("0.1", "0.1"),
        ("'5e-324'", "5e-324"),
        ("'0.30000000000000004'", "0.30000000000000004"),
        ("'1.7976931348623157e308'", "1.7976931348623157e308"),
    ];
    check(&database, "double precision", DataType::Float64, &values).await;
}

/// The largest number of `precision` digits with `scale` of them behind the point.
fn nines(precision: usize, scale: usize) -> String {
    let whole = if precision == scale { "0".to_owned() } else { "9".repeat(precision - scale) };
    if scale == 0 { whole } else { format!("{whole}.{}", "9".repeat(scale)) }
}

/// The smallest number above zero with `scale` digits behind the point.
fn smallest(scale: usize) -> String {
    if scale == 0 { "1".to_owned() } else { format!("0.{}1", "0".repeat(scale - 1)) }
}

#[tokio::test]
async fn numerics_with_a_precision_are_exact_at_every_width() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    for (precision, scale) in [
        (1, 0),
        (4, 4),
        (9, 2),
        (15, 2),
        (18, 0),
        (18, 1),
        (18, 18),
        (19, 0),
        (19, 19),
        (37, 2),
        (38, 0),
        (38, 10),
        (38, 37),
        (38, 38),
        (39, 0),
        (39, 38),
        (50, 3),
        (75, 74),
        (76, 0),
        (76, 38),
        (76, 76),
    ] {
        let (p, s) = (u8::try_from(precision).unwrap(), i8::try_from(scale).unwrap());
        let (data_type, physical) = match precision {
            ..=38 => (DataType::Decimal128(p, s), "Decimal"),
            _ => (DataType::Decimal256(p, s), "Decimal"),
        };
        let (largest, smallest) = (nines(precision, scale), smallest(scale));
        let (least, negative) = (format!("-{largest}"), format!("-{smallest}"));
        let zero = if scale == 0 { "0".to_owned() } else { format!("0.{}", "0".repeat(scale)) };
        let texts = [&largest, &least, &smallest, &negative, &zero];
        let values: Vec<(&str, &str)> = texts.iter().map(|text| (text.as_str(), text.as_str())).collect();
        let sql_type = format!("numeric({precision},{scale})");
        let found = check(&database, &sql_type, data_type, &values).await;
        let logical = LogicalType::decimal(i32::from(s), i32::from(p));
        assert_eq!(found.logical_types, [Some(logical)], "{physical} {sql_type}");
        assert_eq!(found.source_types["value"], sql_type);
    }
    // Groups of four digits that are zero at every place of the wire format.
    let values = [
        ("10000", "10000.0000"),
        ("100000000.0001", "100000000.0001"),
        ("0.0001", "0.0001"),
        ("-90000000000000", "-90000000000000.0000"),
        ("12340000.5678", "12340000.5678"),
        ("0.00001", "0.0000"),
        ("1.5", "1.5000"),
    ];
    check(&database, "numeric(18,4)", DataType::Decimal128(18, 4), &values).await;
}

#[tokio::test]
async fn numerics_that_no_decimal_holds_are_text() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let long = nines(77, 0);
    check(&database, "numeric(77,0)", DataType::Utf8, &[(&long, &long), ("-1", "-1"), ("'NaN'", "NaN")])
        .await;
    let long = nines(1000, 500);
    check(&database, "numeric(1000,500)", DataType::Utf8, &[(&long, &long)]).await;
}

#[tokio::test]
async fn a_scale_below_zero_or_beyond_the_precision_is_a_decimal_as_well() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    if version(&database).await < 15 {
        return;
    }
    let values = [("12345", "12300"), ("-99949", "-99900"), ("49", "0"), ("99900", "99900")];
    check(&database, "numeric(3,-2)", DataType::Decimal128(5, 0), &values).await;
    let values = [("0.00099", "0.00099"), ("-0.00001", "-0.00001"), ("0.000004", "0.00000")];
    check(&database, "numeric(2,5)", DataType::Decimal128(5, 5), &values).await;
    check(&database, "numeric(2,-1000)", DataType::Utf8, &[("0", "0")]).await;
    let text = format!("0.{}12", "0".repeat(998));
    check(&database, "numeric(2,1000)", DataType::Utf8, &[(&text, &text)]).await;
}

#[tokio::test]
async fn a_numeric_without_precision_follows_the_policy() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut values = vec![
        ("1.10", "1.10"),
        ("-0.00", "0.00"),
        ("1e-20", "0.00000000000000000001"),
        ("1e25", "10000000000000000000000000"),
        ("'NaN'", "NaN"),
    ];
    if version(&database).await >= 14 {
        values.extend([("'Infinity'", "Infinity"), ("'-Infinity'", "-Infinity")]);
    }
    let found = check(&database, "numeric", DataType::Utf8, &values).await;
    assert_eq!(found.source_types["value"], "numeric");

    let with = |numeric| PostgresSource { numeric, ..configuration(&database.url()) };
    let double = with(NumericPolicy::Double);
    let doubles = [("0.1", "0.1"), ("-12345678901234567890", "-12345678901234567000"), ("'NaN'", "NaN")];
    check_with(&database, double.clone(), "numeric", DataType::Float64, &doubles).await;
    let too_large = fault_of(&database, double, "'1e400'::numeric").await;
    assert_eq!(too_large.kind(), FaultKind::Request, "{}", too_large.chain());

    let decimal = |precision, scale| with(NumericPolicy::Decimal { precision, scale });
    let (small, medium, large) = (decimal(10, 2), decimal(38, 9), decimal(76, 0));
    let decimals = [("1.5", "1.50"), ("-99999999.99", "-99999999.99"), ("1.100000", "1.10")];
    check_with(&database, small.clone(), "numeric", DataType::Decimal128(10, 2), &decimals).await;
    let decimals = [
        ("1e-9", "0.000000001"),
        ("-12345678901234567890123456789", "-12345678901234567890123456789.000000000"),
    ];
    check_with(&database, medium, "numeric", DataType::Decimal128(38, 9), &decimals).await;
    let long = nines(76, 0);
    check_with(&database, large, "numeric", DataType::Decimal256(76, 0), &[(&long, &long)]).await;
    for expression in ["100000000", "-100000000.00", "0.001", "1.005", "1e-300", "'1e300'", "1e131071"] {
        let fault = fault_of(&database, small.clone(), &format!("{expression}::numeric")).await;
        assert_eq!(fault.kind(), FaultKind::Data, "{expression}");
        assert!(fault.chain().contains("`the column`"), "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("decimal(p,s)"), "{:?}", fault.hint());
    }
}

#[tokio::test]
async fn what_has_no_form_in_the_output_is_an_error_with_a_remedy_or_null() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    for precision in [10, 30, 60] {
        check_special(&database, &format!("'NaN'::numeric({precision},2)"), "NaN").await;
    }
    for name in ["infinity", "-infinity"] {
        for sql_type in ["date", "timestamp", "timestamptz"] {
            check_special(&database, &format!("'{name}'::{sql_type}"), name).await;
        }
    }
    check_special(&database, "'24:00:00'::time", "24:00:00").await;
    check_special(&database, "'294276-12-31 23:59:59'::timestamp", "294,246").await;
}

#[tokio::test]
async fn an_infinity_in_an_undeclared_decimal_is_an_error_or_null() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    if version(&database).await < 14 {
        return;
    }
    let numeric = NumericPolicy::Decimal { precision: 20, scale: 2 };
    let with = PostgresSource { numeric, ..configuration(&database.url()) };
    for name in ["Infinity", "-Infinity"] {
        let fault = fault_of(&database, with.clone(), &format!("'{name}'::numeric")).await;
        assert_eq!(fault.kind(), FaultKind::Data);
        assert!(fault.chain().contains(name), "{}", fault.chain());
    }
    let with = PostgresSource { special_values: SpecialValues::Null, ..with };
    let query = query("SELECT 'Infinity'::numeric AS value UNION ALL SELECT 1");
    let found = transfer(&open(with), &query, 1).await.expect("NULL by option");
    assert_eq!(column(&found.rows, "value"), [None, Some("1.00".to_owned())]);
}

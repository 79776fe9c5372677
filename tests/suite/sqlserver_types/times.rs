//! Dates, times and moments, with and without an offset.

use super::*;

#[tokio::test]
async fn dates_and_times_are_exact_to_the_microsecond() {
    let datetime = |days: i32, ticks: u32| [days.to_le_bytes(), ticks.to_le_bytes()].concat();
    let small = |days: u16, minutes: u16| [days.to_le_bytes(), minutes.to_le_bytes()].concat();
    let timestamp = || DataType::Timestamp(MICROSECONDS, None);
    let datetimes = || {
        vec![
            ("'1753-01-01T00:00:00'", datetime(-53_690, 0), "1753-01-01 00:00:00"),
            // A third of a hundredth is printed as .003, two as .007; so are the values here.
            ("'2024-02-29T12:34:56.003'", datetime(45_349, 13_588_801), "2024-02-29 12:34:56.003"),
            ("'2024-02-29T12:34:56.007'", datetime(45_349, 13_588_802), "2024-02-29 12:34:56.007"),
            ("'2024-02-29T12:34:56.010'", datetime(45_349, 13_588_803), "2024-02-29 12:34:56.01"),
            ("'9999-12-31T23:59:59.997'", datetime(2_958_463, 25_919_999), "9999-12-31 23:59:59.997"),
        ]
    };
    check_all(vec![
        case(
            "date",
            &[0x28],
            Framing::Byte,
            DataType::Date32,
            vec![
                ("'0001-01-01'", day(0), "0001-01-01"),
                ("'2024-02-29'", day(LEAP_DAY), "2024-02-29"),
                ("'9999-12-31'", day(LAST_DAY), "9999-12-31"),
            ],
        ),
        case(
            "time(0)",
            &[0x29, 0],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59'", clock(86_399, 3), "23:59:59"), ("'00:00:00'", clock(0, 3), "00:00:00")],
        ),
        case(
            "time(3)",
            &[0x29, 3],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'12:34:56.789'", clock(45_296_789, 4), "12:34:56.789")],
        ),
        case(
            "time(1)",
            &[0x29, 1],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59.9'", clock(863_999, 3), "23:59:59.9")],
        ),
        case(
            "time(2)",
            &[0x29, 2],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59.99'", clock(8_639_999, 3), "23:59:59.99")],
        ),
        case(
            "time(4)",
            &[0x29, 4],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59.9999'", clock(863_999_999, 4), "23:59:59.9999")],
        ),
        case(
            "time(5)",
            &[0x29, 5],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59.99999'", clock(8_639_999_999, 5), "23:59:59.99999")],
        ),
        case(
            "time(6)",
            &[0x29, 6],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59.999999'", clock(86_399_999_999, 5), "23:59:59.999999")],
        ),
        case("datetime", &[0x6f, 8], Framing::Byte, timestamp(), datetimes()),
        case("datetime", &[0x3d], Framing::Fixed, timestamp(), datetimes()),
        case(
            "smalldatetime",
            &[0x6f, 4],
            Framing::Byte,
            timestamp(),
            vec![
                ("'1900-01-01T00:00:00'", small(0, 0), "1900-01-01 00:00:00"),
                ("'2079-06-06T23:59:00'", small(65_535, 1439), "2079-06-06 23:59:00"),
            ],
        ),
        case(
            "datetime2(0)",
            &[0x2a, 0],
            Framing::Byte,
            timestamp(),
            vec![("'0001-01-01T00:00:01'", [clock(1, 3), day(0)].concat(), "0001-01-01 00:00:01")],
        ),
        case(
            "datetime2(1)",
            &[0x2a, 1],
            Framing::Byte,
            timestamp(),
            vec![(
                "'2024-02-29T23:59:59.9'",
                [clock(863_999, 3), day(LEAP_DAY)].concat(),
                "2024-02-29 23:59:59.9",
            )],
        ),
        case(
            "datetime2(2)",
            &[0x2a, 2],
            Framing::Byte,
            timestamp(),
            vec![(
                "'2024-02-29T23:59:59.99'",
                [clock(8_639_999, 3), day(LEAP_DAY)].concat(),
                "2024-02-29 23:59:59.99",
            )],
        ),
        case(
            "datetime2(4)",
            &[0x2a, 4],
            Framing::Byte,
            timestamp(),
            vec![(
                "'2024-02-29T23:59:59.9999'",
                [clock(863_999_999, 4), day(LEAP_DAY)].concat(),
                "2024-02-29 23:59:59.9999",
            )],
        ),
        case(
            "datetime2(5)",
            &[0x2a, 5],
            Framing::Byte,
            timestamp(),
            vec![(
                "'2024-02-29T23:59:59.99999'",
                [clock(8_639_999_999, 5), day(LEAP_DAY)].concat(),
                "2024-02-29 23:59:59.99999",
            )],
        ),
        case(
            "datetime2(3)",
            &[0x2a, 3],
            Framing::Byte,
            timestamp(),
            vec![(
                "'2024-02-29T12:34:56.789'",
                [clock(45_296_789, 4), day(LEAP_DAY)].concat(),
                "2024-02-29 12:34:56.789",
            )],
        ),
        case(
            "datetime2(6)",
            &[0x2a, 6],
            Framing::Byte,
            timestamp(),
            vec![(
                "'9999-12-31T23:59:59.999999'",
                [clock(86_399_999_999, 5), day(LAST_DAY)].concat(),
                "9999-12-31 23:59:59.999999",
            )],
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_seventh_digit_is_cut_or_kept_as_nanoseconds() {
    let last = 863_999_999_999_u64;
    let moment = 452_967_891_234_u64;
    let cut = |sql_type, type_info: &[u8], data_type, values| {
        case(sql_type, type_info, Framing::Byte, data_type, values).not_on_babelfish()
    };
    check_all(vec![
        cut(
            "time(7)",
            &[0x29, 7],
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59.9999999'", clock(last, 5), "23:59:59.999999")],
        ),
        cut(
            "datetime2(7)",
            &[0x2a, 7],
            DataType::Timestamp(MICROSECONDS, None),
            vec![
                // The end of a period of a temporal table stays in its year.
                (
                    "'9999-12-31T23:59:59.9999999'",
                    [clock(last, 5), day(LAST_DAY)].concat(),
                    "9999-12-31 23:59:59.999999",
                ),
                ("'0001-01-01'", [clock(0, 5), day(0)].concat(), "0001-01-01 00:00:00"),
            ],
        ),
    ])
    .await;
    let nanoseconds = |configuration: &mut SqlServerSource| {
        configuration.seventh_digit = SeventhDigit::Nanoseconds;
    };
    let time = cut(
        "time(7)",
        &[0x29, 7],
        DataType::Time64(TimeUnit::Nanosecond),
        vec![("'12:34:56.7891234'", clock(moment, 5), "12:34:56.789123+400ns")],
    );
    check(&time, nanoseconds).await;
    let instant = cut(
        "datetime2(7)",
        &[0x2a, 7],
        DataType::Timestamp(TimeUnit::Nanosecond, None),
        vec![(
            "'2024-02-29T12:34:56.7891234'",
            [clock(moment, 5), day(LEAP_DAY)].concat(),
            "2024-02-29 12:34:56.789123+400ns",
        )],
    );
    check(&instant, nanoseconds).await;

    let column = Column::new("value", "datetime2(7)", &[0x2a, 7], Framing::Byte);
    let rows = vec![vec![Some([clock(last, 5), day(LAST_DAY)].concat())]];
    let server = TdsServer::start(Script::of(vec![column], rows)).await;
    let mut configuration = server.configuration();
    configuration.seventh_digit = SeventhDigit::Nanoseconds;
    let fault = read(&open(configuration), &query("SELECT value FROM t"), 1).await.expect_err("too late");
    assert_eq!(fault.kind(), FaultKind::Data);
    assert!(fault.chain().contains("`value`"), "{}", fault.chain());
    assert!(fault.hint().unwrap_or_default().contains("seventh_digit"), "{:?}", fault.hint());
}

#[tokio::test]
async fn a_datetimeoffset_is_an_instant_or_text_with_its_offset() {
    let offset = |units: u64, bytes, days, minutes: i16| {
        [clock(units, bytes), day(days), minutes.to_le_bytes().to_vec()].concat()
    };
    let values = |first, second, third| {
        vec![
            ("'2024-02-29T14:34:56.789+02:00'", offset(45_296_789, 4, LEAP_DAY, 120), first),
            ("'2024-02-29T19:34:56.789-05:00'", offset(2_096_789, 4, LEAP_DAY + 1, -300), second),
            ("'2024-02-29T12:34:56.789+00:00'", offset(45_296_789, 4, LEAP_DAY, 0), third),
        ]
    };
    let instants =
        values("2024-02-29 12:34:56.789+00", "2024-03-01 00:34:56.789+00", "2024-02-29 12:34:56.789+00");
    let utc = DataType::Timestamp(MICROSECONDS, Some("UTC".into()));
    check(&case("datetimeoffset(3)", &[0x2b, 3], Framing::Byte, utc, instants), |_| {}).await;
    // The other widths of the time.
    for (sql_type, scale, units, bytes, value, text) in [
        ("datetimeoffset(0)", 0, 45_296, 3, "'2024-02-29T14:34:56+02:00'", "2024-02-29 12:34:56+00"),
        (
            "datetimeoffset(6)",
            6,
            45_296_789_123,
            5,
            "'2024-02-29T14:34:56.789123+02:00'",
            "2024-02-29 12:34:56.789123+00",
        ),
    ] {
        let utc = DataType::Timestamp(MICROSECONDS, Some("UTC".into()));
        let values = vec![(value, offset(units, bytes, LEAP_DAY, 120), text)];
        check(&case(sql_type, &[0x2b, scale], Framing::Byte, utc, values), |_| {}).await;
    }
    let texts = values(
        "2024-02-29 14:34:56.789 +02:00",
        "2024-02-29 19:34:56.789 -05:00",
        "2024-02-29 12:34:56.789 +00:00",
    );
    check(&case("datetimeoffset(3)", &[0x2b, 3], Framing::Byte, DataType::Utf8, texts), |configuration| {
        configuration.datetimeoffset = OffsetPolicy::Text;
    })
    .await;
}

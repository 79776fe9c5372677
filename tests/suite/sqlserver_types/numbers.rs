//! Bits, integers, decimals, money and floats.

use super::*;

#[tokio::test]
async fn bits_and_integers_are_kept_and_tinyint_is_unsigned() {
    use Framing::{Byte, Fixed};
    let bits = || vec![("0", vec![0], "false"), ("1", vec![1], "true")];
    let tiny = || vec![("0", vec![0], "0"), ("128", vec![128], "128"), ("255", vec![255], "255")];
    let small = || {
        vec![
            ("-32768", i16::MIN.to_le_bytes().to_vec(), "-32768"),
            ("32767", i16::MAX.to_le_bytes().to_vec(), "32767"),
        ]
    };
    let int = || {
        vec![
            ("-2147483648", i32::MIN.to_le_bytes().to_vec(), "-2147483648"),
            ("2147483647", i32::MAX.to_le_bytes().to_vec(), "2147483647"),
        ]
    };
    let big = || {
        vec![
            ("-9223372036854775808", i64::MIN.to_le_bytes().to_vec(), "-9223372036854775808"),
            ("9223372036854775807", i64::MAX.to_le_bytes().to_vec(), "9223372036854775807"),
        ]
    };
    check_all(vec![
        case("bit", &[0x68, 1], Byte, DataType::Boolean, bits()),
        case("bit", &[0x32], Fixed, DataType::Boolean, bits()),
        case("tinyint", &[0x26, 1], Byte, DataType::UInt8, tiny()),
        case("tinyint", &[0x30], Fixed, DataType::UInt8, tiny()),
        case("smallint", &[0x26, 2], Byte, DataType::Int16, small()),
        case("smallint", &[0x34], Fixed, DataType::Int16, small()),
        case("int", &[0x26, 4], Byte, DataType::Int32, int()),
        case("int", &[0x38], Fixed, DataType::Int32, int()),
        case("bigint", &[0x26, 8], Byte, DataType::Int64, big()),
        case("bigint", &[0x7f], Fixed, DataType::Int64, big()),
    ])
    .await;
}

#[tokio::test]
async fn decimals_are_exact_up_to_38_digits() {
    let most = 10_u128.pow(38) - 1;
    let cases = vec![
        case(
            "decimal(5,2)",
            &[0x6a, 5, 5, 2],
            Framing::Byte,
            DataType::Decimal128(5, 2),
            vec![
                ("'-999.99'", decimal(true, 99_999, 4), "-999.99"),
                ("'0.01'", decimal(false, 1, 4), "0.01"),
                ("'0'", decimal(false, 0, 4), "0.00"),
            ],
        ),
        case(
            "numeric(18,18)",
            &[0x6c, 9, 18, 18],
            Framing::Byte,
            DataType::Decimal128(18, 18),
            vec![("'0.999999999999999999'", decimal(false, 10_u128.pow(18) - 1, 8), "0.999999999999999999")],
        ),
        case(
            "decimal(28,3)",
            &[0x6a, 13, 28, 3],
            Framing::Byte,
            DataType::Decimal128(28, 3),
            vec![(
                "'1234567890123456789012345.678'",
                decimal(false, 1_234_567_890_123_456_789_012_345_678, 12),
                "1234567890123456789012345.678",
            )],
        ),
        case(
            "decimal(38,0)",
            &[0x6a, 17, 38, 0],
            Framing::Byte,
            DataType::Decimal128(38, 0),
            vec![
                (
                    "'-99999999999999999999999999999999999999'",
                    decimal(true, most, 16),
                    "-99999999999999999999999999999999999999",
                ),
                ("'1'", decimal(false, 1, 16), "1"),
            ],
        ),
    ];
    for case in cases {
        let DataType::Decimal128(precision, scale) = case.data_type else { panic!("{:?}", case.data_type) };
        check(&case, |_| {}).await;
        let column = Column::new("value", case.sql_type, &case.type_info, case.framing);
        let server = TdsServer::start(Script::of(vec![column], Vec::new())).await;
        let found = transfer(&open(server.configuration()), &query("SELECT value FROM t"), 1).await.unwrap();
        let expected = LogicalType::decimal(scale.into(), precision.into());
        assert_eq!(found.logical_types, [Some(expected)]);
        assert_eq!(found.source_types["value"], case.sql_type);
    }
}

#[tokio::test]
async fn money_keeps_every_digit() {
    let money = |value: i64| {
        let bytes = value.to_le_bytes();
        [&bytes[4..], &bytes[..4]].concat()
    };
    let large = || {
        vec![
            ("'922337203685477.5807'", money(i64::MAX), "922337203685477.5807"),
            ("'-922337203685477.5808'", money(i64::MIN), "-922337203685477.5808"),
            ("'0.0001'", money(1), "0.0001"),
            ("'-0.0001'", money(-1), "-0.0001"),
        ]
    };
    let small = || {
        vec![
            ("'214748.3647'", i32::MAX.to_le_bytes().to_vec(), "214748.3647"),
            ("'-214748.3648'", i32::MIN.to_le_bytes().to_vec(), "-214748.3648"),
        ]
    };
    check_all(vec![
        case("money", &[0x6e, 8], Framing::Byte, DataType::Decimal128(19, 4), large()),
        case("money", &[0x3c], Framing::Fixed, DataType::Decimal128(19, 4), large()),
        case("smallmoney", &[0x6e, 4], Framing::Byte, DataType::Decimal128(10, 4), small()),
        case("smallmoney", &[0x7a], Framing::Fixed, DataType::Decimal128(10, 4), small()),
    ])
    .await;
}

#[tokio::test]
async fn floats_are_the_same_bits() {
    let double = |value: f64| value.to_le_bytes().to_vec();
    let single = |value: f32| value.to_le_bytes().to_vec();
    let doubles = || {
        vec![
            ("0.1", double(0.1), "0.1"),
            ("-1.7976931348623157E308", double(f64::MIN), "-1.7976931348623157e308"),
            ("2.2250738585072014E-308", double(f64::MIN_POSITIVE), "2.2250738585072014e-308"),
        ]
    };
    let singles = || vec![("0.1", single(0.1), "0.1"), ("-3.4E38", single(-3.4e38), "-3.4e38")];
    check_all(vec![
        case("real", &[0x6d, 4], Framing::Byte, DataType::Float32, singles()),
        case("real", &[0x3b], Framing::Fixed, DataType::Float32, singles()),
        case("float", &[0x6d, 8], Framing::Byte, DataType::Float64, doubles()),
        case("float", &[0x3e], Framing::Fixed, DataType::Float64, doubles()),
    ])
    .await;
}

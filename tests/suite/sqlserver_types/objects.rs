//! Values that carry their type, and those that the server turns into text.

use super::*;

/// A variant: type, properties, value.
fn variant(kind: u8, properties: &[u8], value: &[u8]) -> Vec<u8> {
    [&[kind, properties.len() as u8], properties, value].concat()
}

/// A CLR type of the schema `sys`.
fn udt(name: &str) -> Vec<u8> {
    let mut type_info = vec![0xf0, 0xff, 0xff];
    for text in ["", "sys", name] {
        type_info.push(text.len() as u8);
        type_info.extend(utf16(text));
    }
    type_info.extend([0, 0]);
    type_info
}

const POINT: &str = "POINT (1 2)";
const QUOTED: &str = "'POINT (1 2)'";

#[tokio::test]
async fn a_sql_variant_is_the_text_of_the_value_in_it() {
    let collation_and_length = [&LATIN[..], &[100, 0]].concat();
    let values = vec![
        ("CAST(-7 AS int)", variant(0x38, &[], &(-7_i32).to_le_bytes()), "-7"),
        ("CAST(255 AS tinyint)", variant(0x30, &[], &[255]), "255"),
        ("CAST(1 AS bit)", variant(0x32, &[], &[1]), "1"),
        ("CAST(0.1 AS float)", variant(0x3e, &[], &0.1_f64.to_le_bytes()), "0.1"),
        ("CAST('-0.05' AS decimal(5,2))", variant(0x6c, &[5, 2], &decimal(true, 5, 4)), "-0.05"),
        ("CAST('1.2345' AS money)", variant(0x3c, &[], &[0, 0, 0, 0, 0x39, 0x30, 0, 0]), "1.2345"),
        ("CAST('2024-02-29' AS date)", variant(0x28, &[], &day(LEAP_DAY)), "2024-02-29"),
        ("CAST('Zür' AS varchar(100))", variant(0xa7, &collation_and_length, b"Z\xfcr"), "Zür"),
        ("CAST(N'日' AS nvarchar(50))", variant(0xe7, &collation_and_length, &utf16("日")), "日"),
        ("CAST(-32768 AS smallint)", variant(0x34, &[], &i16::MIN.to_le_bytes()), "-32768"),
        (
            "CAST(9223372036854775807 AS bigint)",
            variant(0x7f, &[], &i64::MAX.to_le_bytes()),
            "9223372036854775807",
        ),
        ("CAST(0.5 AS real)", variant(0x3b, &[], &0.5_f32.to_le_bytes()), "0.5"),
        ("CAST('-1.5' AS smallmoney)", variant(0x7a, &[], &(-15_000_i32).to_le_bytes()), "-1.5000"),
        ("CAST('12' AS decimal(2,0))", variant(0x6a, &[2, 0], &decimal(false, 12, 4)), "12"),
        (
            "CAST('2024-02-29T12:34:56.003' AS datetime)",
            variant(0x3d, &[], &[45_349_u32.to_le_bytes(), 13_588_801_u32.to_le_bytes()].concat()),
            "2024-02-29 12:34:56.003",
        ),
        (
            "CAST('2079-06-06T23:59:00' AS smalldatetime)",
            variant(0x3a, &[], &[65_535_u16.to_le_bytes(), 1439_u16.to_le_bytes()].concat()),
            "2079-06-06 23:59:00",
        ),
        (
            "CAST('6F9619FF-8B86-D011-B42D-00C04FC964FF' AS uniqueidentifier)",
            variant(
                0x24,
                &[],
                &[
                    0xff, 0x19, 0x96, 0x6f, 0x86, 0x8b, 0x11, 0xd0, 0xb4, 0x2d, 0, 0xc0, 0x4f, 0xc9, 0x64,
                    0xff,
                ],
            ),
            "6F9619FF-8B86-D011-B42D-00C04FC964FF",
        ),
        ("CAST('Zür' AS char(4))", variant(0xaf, &collation_and_length, b"Z\xfcr "), "Zür "),
        ("CAST(0x0AFF AS binary(3))", variant(0xad, &[3, 0], &[0x0a, 0xff, 0]), "0x0AFF00"),
        ("CAST(0x0AFF AS varbinary(10))", variant(0xa5, &[10, 0], &[0x0a, 0xff]), "0x0AFF"),
    ];
    let times = vec![
        (
            "CAST('2024-02-29T12:34:56.789' AS datetime2(3))",
            variant(0x2a, &[3], &[clock(45_296_789, 4), day(LEAP_DAY)].concat()),
            "2024-02-29 12:34:56.789",
        ),
        (
            "CAST('2024-02-29T14:34:56+02:00' AS datetimeoffset(0))",
            variant(0x2b, &[0], &[clock(45_296, 3), day(LEAP_DAY), vec![120, 0]].concat()),
            "2024-02-29 14:34:56 +02:00",
        ),
        ("CAST('12:34:56' AS time(0))", variant(0x29, &[0], &clock(45_296, 3)), "12:34:56"),
    ];
    let variants =
        |values| case("sql_variant", &[0x62, 0x49, 0x1f, 0, 0], Framing::Long, DataType::Utf8, values);
    check(&variants(values), |_| {}).await;
    // Babelfish forgets the scale of the value.
    check(&variants(times).not_on_babelfish(), |_| {}).await;
}

#[tokio::test]
async fn clr_types_are_turned_into_text_by_the_server() {
    for (name, null_bitmap) in
        [("hierarchyid", false), ("geography", true), ("geometry", false), ("Point", true)]
    {
        let columns = vec![Column::int("id"), Column::new("place", name, &udt(name), Framing::Chunks)];
        let rows = vec![
            vec![Some(vec![1, 0, 0, 0]), Some(utf16("POINT (1 2)"))],
            vec![Some(vec![2, 0, 0, 0]), None],
        ];
        let server = TdsServer::start(Script { null_bitmap, ..Script::of(columns, rows) }).await;
        let found = read(&open(server.configuration()), &query("SELECT id, place FROM t ORDER BY id"), 1)
            .await
            .unwrap();
        assert_eq!(column(&found, "place"), [Some("POINT (1 2)".to_owned()), None]);
        let batches = server.batches();
        let sent = batches.last().unwrap();
        assert!(
            sent.starts_with(
                "SELECT q.[c1] AS [id], CAST(q.[c2].ToString() AS nvarchar(max)) AS [place] \
                 FROM (SELECT id, place FROM t ORDER BY id OFFSET 0 ROWS"
            ),
            "{sent}"
        );
    }
    // A type of a later version.
    let columns = vec![Column::new(
        "value",
        "brandnew(3)",
        &with_collation(&[0xe7, 0xff, 0xff], LATIN),
        Framing::Chunks,
    )];
    let server = TdsServer::start(Script::of(columns, vec![vec![Some(utf16("x"))]])).await;
    let found = read(&open(server.configuration()), &query("SELECT value FROM t"), 1).await.unwrap();
    assert_eq!(column(&found, "value"), [Some("x".to_owned())]);
    assert!(server.batches().last().unwrap().contains("CAST(q.[c1] AS nvarchar(max)) AS [value]"));
}

/// The values themselves, as the double and a real server send them.
#[tokio::test]
async fn values_of_clr_types_are_their_texts_or_well_known_binary_by_option() {
    let texts =
        [("hierarchyid", "/1/2.5/", "'/1/2.5/'"), ("geography", POINT, QUOTED), ("geometry", POINT, QUOTED)];
    for (name, text, sql) in texts {
        let values = vec![(sql, utf16(text), text)];
        let case = case(name, &udt(name), Framing::Chunks, DataType::Utf8, values);
        check(&case.not_on_babelfish(), |_| {}).await;
    }
    // The order of the bytes, the kind of a point, and two doubles.
    let binary = [&[1, 1, 0, 0, 0][..], &1_f64.to_le_bytes(), &2_f64.to_le_bytes()].concat();
    for name in ["geography", "geometry"] {
        let values = vec![(QUOTED, binary.clone(), "\\x0101000000000000000000f03f0000000000000040")];
        let case = case(name, &udt(name), Framing::Chunks, DataType::Binary, values);
        check(&case.not_on_babelfish(), |configuration| configuration.spatial = SpatialPolicy::Wkb).await;
    }
}

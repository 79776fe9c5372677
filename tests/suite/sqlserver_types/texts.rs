//! Texts of every code page, bytes, identifiers and documents.

use super::*;

#[tokio::test]
async fn texts_of_every_length_and_encoding_are_utf_8() {
    use Framing::{Chunks, Pointer, Short};
    let utf8 = [0x09, 0x04, 0xd0, 0x04, 0x00];
    let text = || DataType::Utf8;
    let latin = || vec![("'Zür€'", b"Z\xfcr\x80".to_vec(), "Zür€"), ("''", Vec::new(), "")];
    let unicode = || {
        vec![
            ("N'Zür𝄞日'", utf16("Zür𝄞日"), "Zür𝄞日"),
            ("N''", Vec::new(), ""),
            (
                "N'plain text, longer than eight'",
                utf16("plain text, longer than eight"),
                "plain text, longer than eight",
            ),
        ]
    };
    check_all(vec![
        case(
            "char(6)",
            &with_collation(&[0xaf, 6, 0], LATIN),
            Short,
            text(),
            vec![("'ab'", b"ab    ".to_vec(), "ab    ")],
        ),
        case("varchar(100)", &with_collation(&[0xa7, 100, 0], LATIN), Short, text(), latin()),
        case("varchar(max)", &with_collation(&[0xa7, 0xff, 0xff], LATIN), Chunks, text(), latin()),
        case("text", &with_collation(&[0x23, 0xff, 0xff, 0xff, 0x7f], LATIN), Pointer, text(), latin()),
        case(
            "nchar(4)",
            &with_collation(&[0xef, 8, 0], LATIN),
            Short,
            text(),
            vec![("N'ä'", utf16("ä   "), "ä   ")],
        ),
        case("nvarchar(100)", &with_collation(&[0xe7, 200, 0], LATIN), Short, text(), unicode()),
        case("nvarchar(max)", &with_collation(&[0xe7, 0xff, 0xff], LATIN), Chunks, text(), unicode()),
        case("ntext", &with_collation(&[0x63, 0xff, 0xff, 0xff, 0x7f], LATIN), Pointer, text(), unicode()),
    ])
    .await;
    let values =
        vec![("N'Zür𝄞日' COLLATE Latin1_General_100_CI_AS_SC_UTF8", "Zür𝄞日".as_bytes().to_vec(), "Zür𝄞日")];
    let case = case("varchar(100)", &with_collation(&[0xa7, 100, 0], utf8), Short, text(), values);
    check(&case.not_on_babelfish(), |_| {}).await;
}

/// One collation of each code page. Babelfish has some of them; nobody has asked it for these texts.
#[tokio::test]
async fn texts_of_every_code_page_are_utf_8() {
    for (sql, collation, bytes, text) in [
        (
            "N'ü¢ßπ' COLLATE SQL_Latin1_General_CP437_CI_AS",
            [0x09, 0x04, 0xd0, 0, 32],
            &b"\x81\x9b\xe1\xe3"[..],
            "ü¢ßπ",
        ),
        (
            "N'üøßı' COLLATE SQL_Latin1_General_CP850_CI_AS",
            [0x09, 0x04, 0xd0, 0, 42],
            b"\x81\x9b\xe1\xd5",
            "üøßı",
        ),
        ("N'กเ' COLLATE Thai_CI_AS", [0x1e, 0x04, 0xd0, 0, 0], b"\xa1\xe0", "กเ"),
        ("N'日本ｱ' COLLATE Japanese_CI_AS", [0x11, 0x04, 0xd0, 0, 0], b"\x93\xfa\x96{\xb1", "日本ｱ"),
        ("N'中国' COLLATE Chinese_PRC_CI_AS", [0x04, 0x08, 0xd0, 0, 0], b"\xd6\xd0\xb9\xfa", "中国"),
        ("N'한글' COLLATE Korean_Wansung_CI_AS", [0x12, 0x04, 0xd0, 0, 0], b"\xc7\xd1\xb1\xdb", "한글"),
        (
            "N'中文' COLLATE Chinese_Taiwan_Stroke_CI_AS",
            [0x04, 0x04, 0xd0, 0, 0],
            b"\xa4\xa4\xa4\xe5",
            "中文",
        ),
        ("N'łś€' COLLATE Polish_CI_AS", [0x15, 0x04, 0xd0, 0, 0], b"\xb3\x9c\x80", "łś€"),
        ("N'при' COLLATE Cyrillic_General_CI_AS", [0x19, 0x04, 0xd0, 0, 0], b"\xef\xf0\xe8", "при"),
        ("N'αβ' COLLATE Greek_CI_AS", [0x08, 0x04, 0xd0, 0, 0], b"\xe1\xe2", "αβ"),
        ("N'şİ' COLLATE Turkish_CI_AS", [0x1f, 0x04, 0xd0, 0, 0], b"\xfe\xdd", "şİ"),
        ("N'של' COLLATE Hebrew_CI_AS", [0x0d, 0x04, 0xd0, 0, 0], b"\xf9\xec", "של"),
        ("N'مر' COLLATE Arabic_CI_AS", [0x01, 0x04, 0xd0, 0, 0], b"\xe3\xd1", "مر"),
        ("N'ėū' COLLATE Lithuanian_CI_AS", [0x27, 0x04, 0xd0, 0, 0], b"\xeb\xfb", "ėū"),
        ("N'₫Đ' COLLATE Vietnamese_CI_AS", [0x2a, 0x04, 0xd0, 0, 0], b"\xfe\xd0", "₫Đ"),
    ] {
        let type_info = with_collation(&[0xa7, 100, 0], collation);
        let values = vec![(sql, bytes.to_vec(), text)];
        let case = case("varchar(100)", &type_info, Framing::Short, DataType::Utf8, values);
        check(&case.not_on_babelfish(), |_| {}).await;
    }
}

#[tokio::test]
async fn a_text_that_has_no_characters_is_an_error_and_never_a_replacement() {
    let japanese = with_collation(&[0xa7, 100, 0], [0x11, 0x04, 0, 0, 0]);
    // Chinese_Taiwan_Stroke_CI_AS, and a character of a user's own.
    let taiwan = with_collation(&[0xa7, 100, 0], [0x04, 0x04, 0, 0, 0]);
    let nvarchar = with_collation(&[0xe7, 200, 0], LATIN);
    for (type_info, bytes, expected) in [
        (japanese, b"a\x81".to_vec(), "code page"),
        (taiwan, b"\xa4\xa4\xfa\x40".to_vec(), "code page"),
        (nvarchar, vec![0x3d, 0xd8, b'a', 0], "UTF-16"),
    ] {
        let column = Column::new("note", "varchar(100)", &type_info, Framing::Short);
        let server = TdsServer::start(Script::of(vec![column], vec![vec![Some(bytes)]])).await;
        let fault =
            read(&open(server.configuration()), &query("SELECT note FROM t"), 1).await.expect_err("no text");
        assert_eq!(fault.kind(), FaultKind::Data);
        assert!(fault.chain().contains("`note`") && fault.chain().contains(expected), "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("[note]"), "{:?}", fault.hint());
    }
}

#[tokio::test]
async fn bytes_are_bytes() {
    use Framing::{Chunks, Pointer, Short};
    let bytes = || vec![("0x00FF10", vec![0, 0xff, 0x10], "\\x00ff10"), ("0x", Vec::new(), "\\x")];
    check_all(vec![
        case(
            "binary(3)",
            &[0xad, 3, 0],
            Short,
            DataType::Binary,
            vec![("0x00FF10", vec![0, 0xff, 0x10], "\\x00ff10")],
        ),
        case("varbinary(100)", &[0xa5, 100, 0], Short, DataType::Binary, bytes()),
        case("varbinary(max)", &[0xa5, 0xff, 0xff], Chunks, DataType::Binary, bytes()),
        case("image", &[0x22, 0xff, 0xff, 0xff, 0x7f], Pointer, DataType::Binary, bytes()),
        case(
            "rowversion",
            &[0xad, 8, 0],
            Short,
            DataType::Binary,
            vec![("0x00000000000007D1", vec![0, 0, 0, 0, 0, 0, 7, 0xd1], "\\x00000000000007d1")],
        )
        .not_on_babelfish(),
    ])
    .await;
}

#[tokio::test]
async fn identifiers_and_documents_are_text() {
    let guid = "6F9619FF-8B86-D011-B42D-00C04FC964FF";
    let bytes =
        vec![0xff, 0x19, 0x96, 0x6f, 0x86, 0x8b, 0x11, 0xd0, 0xb4, 0x2d, 0, 0xc0, 0x4f, 0xc9, 0x64, 0xff];
    let guid = case(
        "uniqueidentifier",
        &[0x24, 16],
        Framing::Byte,
        DataType::Utf8,
        vec![("'6F9619FF-8B86-D011-B42D-00C04FC964FF'", bytes, guid)],
    );
    let xml = vec![("N'<a b=\"1\">ü</a>'", utf16("<a b=\"1\">ü</a>"), "<a b=\"1\">ü</a>")];
    let marked = vec![("N'<a/>'", [vec![0xff, 0xfe], utf16("<a/>")].concat(), "<a/>")];
    // As the server prints them: without blanks, and with the digits of a float of four bytes.
    let json = vec![("'{\"a\":[1]}'", b"{\"a\":[1]}".to_vec(), "{\"a\":[1]}")];
    let floats = "[1.0000000e+000,2.5000000e+000]";
    let vector = vec![("'[1, 2.5]'", floats.as_bytes().to_vec(), floats)];
    let long_varchar = with_collation(&[0xa7, 0xff, 0xff], LATIN);
    check(&guid, |_| {}).await;
    check(&case("xml", &[0xf1, 0], Framing::Chunks, DataType::Utf8, xml), |_| {}).await;
    // Only the double can be made to send a byte order mark.
    check_on_the_double(&case("xml", &[0xf1, 0], Framing::Chunks, DataType::Utf8, marked), |_| {}).await;
    check_all(vec![
        case("json", &long_varchar, Framing::Chunks, DataType::Utf8, json).of_later_versions("json"),
        case("vector(2)", &long_varchar, Framing::Chunks, DataType::Utf8, vector).of_later_versions("vector"),
    ])
    .await;
}

//! What a result says about its columns.

use super::*;

#[tokio::test]
async fn alias_types_and_computed_columns_are_what_is_behind_them() {
    let mut phone = Column::nvarchar("phone");
    phone.user_type = Some("Phone".into());
    let mut total = Column::int("total");
    total.is_computed = true;
    let rows = vec![vec![Some(utf16("+41 44")), Some(vec![7, 0, 0, 0])]];
    let server = TdsServer::start(Script::of(vec![phone, total], rows)).await;
    let found = transfer(&open(server.configuration()), &table("t"), 1).await.unwrap();
    assert_eq!(column(&found.rows, "phone"), [Some("+41 44".to_owned())]);
    assert_eq!(column(&found.rows, "total"), [Some("7".to_owned())]);
    assert_eq!(found.source_types["phone"], "nvarchar(4000)");
    assert!(!server.batches().iter().any(|sql| sql.contains("CAST(")), "nothing is converted");

    // The alias type that every server has.
    let type_info = with_collation(&[0xe7, 0, 1], LATIN);
    let values = vec![("N'+41 44'", utf16("+41 44"), "+41 44")];
    let sysname = case("sysname", &type_info, Framing::Short, DataType::Utf8, values);
    check(&sysname.not_on_babelfish(), |_| {}).await;
}

#[tokio::test]
async fn columns_need_names_of_their_own() {
    for (columns, expected) in [
        (vec![Column::int("a"), Column::int("a")], "two columns have the name `a`"),
        (vec![Column::int("")], ""),
    ] {
        let server = TdsServer::start(Script::of(columns, Vec::new())).await;
        let source = open(server.configuration());
        if expected.is_empty() {
            read(&source, &query("SELECT id + 1 FROM t"), 1).await.unwrap();
            continue;
        }
        let fault = refused(&source, &query("SELECT a, a FROM t"), 1).await;
        assert!(fault.chain().contains(expected), "{}", fault.chain());
    }
}

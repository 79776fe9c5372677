//! SQL and its results, on the emulator or on an account.

use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::snowflake::{Binding, Statement};

use super::texts;
use crate::support::account::Account;

#[tokio::test]
async fn statements_and_their_rows_come_back_from_the_emulator() {
    let Some(account) = Account::open().await else { return };
    let client = account.client();
    client.run(&Statement::new("CREATE TABLE T (ID INT, PRICE NUMBER(10, 2), NAME TEXT, SEEN TIMESTAMP_NTZ, DAY DATE, OK BOOLEAN)")).await.unwrap();
    let insert = Statement::new("INSERT INTO T SELECT ?, 12.50, ?, ?, ?, ?")
        .bind(7_i64)
        .bind("it's é")
        .bind(Binding::TimestampNtz(1_709_251_199_123_456_000))
        .bind(Binding::Date(19_782))
        .bind(true);
    let inserted = client.run(&insert).await.unwrap();
    assert_eq!(inserted.changed_rows(), Some(1));
    let table = client.run(&Statement::new("SELECT * FROM T")).await.unwrap();
    assert_eq!(
        texts(&table),
        [["7", "12.50", "it's é", "2024-02-29 23:59:59.123456000", "2024-02-29", "true"]]
    );
    assert_eq!(table.value(&table.rows[0], "name"), Some("it's é"));
    assert!(table.query_id.is_some());
    let empty = client.run(&Statement::new("SELECT * FROM T WHERE ID = 0")).await.unwrap();
    assert_eq!((empty.rows.len(), empty.columns.len()), (0, 6));
    client.close().await;
    account.close().await;
}

#[tokio::test]
async fn a_missing_table_is_named_with_its_code() {
    let Some(account) = Account::open().await else { return };
    let client = account.client();
    let error = client.run(&Statement::new("SELECT * FROM NOWHERE")).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), (Some(2003), FaultKind::Request), "{error}");
    assert!(error.is_missing_object() && error.hint().is_some());
    account.close().await;
}

#[tokio::test]
async fn a_transaction_in_a_session_of_its_own_is_rolled_back_with_it() {
    let Some(account) = Account::open().await else { return };
    let client = account.client();
    client.run(&Statement::new("CREATE TABLE T (ID INT)")).await.unwrap();
    let session = client.session().await.unwrap();
    session.run(&Statement::new("BEGIN")).await.unwrap();
    session.run(&Statement::new("INSERT INTO T VALUES (1)")).await.unwrap();
    session.run(&Statement::new("ROLLBACK")).await.unwrap();
    session.close().await;
    let count = client.run(&Statement::new("SELECT count(*) AS N FROM T")).await.unwrap();
    assert_eq!(count.single(), Some("0"));
    account.close().await;
}

//! Once for each task, whatever dies or is lost on the way.

use std::sync::atomic::{AtomicUsize, Ordering};

use data_exchange_agent::snowflake::load;
use data_exchange_agent::task::LoadMode;

use super::{Bench, spec, two_parts};
use crate::support::emulator_relay::Treatment;

/// Loads after a first load of another task, with an agent that dies at statement `number`. Returns
/// the end state, and whether the agent died at all.
async fn die_at(
    mode: LoadMode,
    number: usize,
    treatment: Treatment,
) -> Option<([Vec<Vec<String>>; 2], bool)> {
    let bench = Bench::start().await?;
    let first =
        bench.stage("first", spec(LoadMode::Append), &[vec![(2, "0.00", "old"), (8, "8.00", "old")]]).await;
    if number.is_multiple_of(2) {
        // Every other time the table and the control table are there already.
        bench.load(&first).await.unwrap();
    } else {
        bench.run("CREATE TABLE PUBLIC.T (ID NUMBER(38,0), TOTAL NUMBER(15,2))").await;
        bench.run("INSERT INTO PUBLIC.T VALUES (2, 0), (8, 8)").await;
    }
    let staged = bench.stage("a", spec(mode), &two_parts()).await;
    let seen = AtomicUsize::new(0);
    bench.relay.treat(move |_sql| {
        if seen.fetch_add(1, Ordering::Relaxed) == number { treatment } else { Treatment::Forward }
    });
    let dying = bench.new_client();
    let job = staged.job();
    let died = tokio::select! {
        receipt = load::run(&dying, &job) => {
            receipt.unwrap();
            false
        }
        () = bench.relay.held() => true,
    };
    bench.relay.forward();
    bench.relay.end_held_sessions().await;
    let receipt = load::run(&bench.new_client(), &job).await.unwrap();
    assert_eq!(receipt.rows_loaded, 3);
    let mut state = bench.state().await;
    state[1].retain(|row| row[0] == "a");
    Some((state, died))
}

async fn die_everywhere(mode: LoadMode, rows: &[&str]) {
    for treatment in [Treatment::HoldBefore, Treatment::HoldAfter] {
        let mut number = 0;
        let mut survived = 0;
        // The longer of the two sequences ends later.
        while survived < 2 {
            let Some(([found, control], died)) = die_at(mode, number, treatment).await else { return };
            let ids: Vec<&str> = found.iter().map(|row| row[0].as_str()).collect();
            assert_eq!(ids, rows, "{mode:?} dies at statement {number}, {treatment:?}");
            assert_eq!(control.len(), 1, "{control:?}");
            assert_eq!(control[0][1..3], ["LOADED", mode.as_str()]);
            survived = if died { 0 } else { survived + 1 };
            number += 1;
        }
        assert!(number > 8, "{number} statements");
    }
}

#[tokio::test]
async fn an_agent_that_dies_anywhere_in_an_append_has_loaded_once_in_the_end() {
    die_everywhere(LoadMode::Append, &["1", "2", "2", "3", "8"]).await;
}

#[tokio::test]
async fn an_agent_that_dies_anywhere_in_a_replace_has_loaded_once_in_the_end() {
    die_everywhere(LoadMode::Replace, &["1", "2", "3"]).await;
}

#[tokio::test]
async fn an_agent_that_dies_anywhere_in_a_merge_has_loaded_once_in_the_end() {
    die_everywhere(LoadMode::Merge, &["1", "2", "3", "8"]).await;
}

#[tokio::test]
async fn a_lost_session_or_answer_is_made_good_within_one_attempt() {
    for (beginning, treatment, found_again) in [
        ("COPY INTO", Treatment::LoseAfter, false),
        ("COMMIT", Treatment::LoseBefore, false),
        ("COMMIT", Treatment::LoseAfter, true),
        ("COMMIT", Treatment::CutAnswer, false),
        ("INSERT INTO", Treatment::CutAnswer, false),
    ] {
        let Some(bench) = Bench::start().await else { return };
        let staged = bench.stage("a", spec(LoadMode::Append), &two_parts()).await;
        let seen = AtomicUsize::new(0);
        bench.relay.treat(move |sql| {
            let is_first = sql.starts_with(beginning) && seen.fetch_add(1, Ordering::Relaxed) == 0;
            if is_first { treatment } else { Treatment::Forward }
        });
        let receipt =
            bench.load(&staged).await.unwrap_or_else(|fault| panic!("{beginning}: {}", fault.chain()));
        assert_eq!(
            (receipt.rows_loaded, receipt.already_loaded),
            (3, found_again),
            "{beginning} {treatment:?}"
        );
        let [rows, control] = bench.state().await;
        assert_eq!((rows.len(), control.len()), (3, 1), "{beginning} {treatment:?}");
    }
}

#[tokio::test]
async fn two_agents_with_one_task_load_it_once() {
    let Some(bench) = Bench::start().await else { return };
    for round in 0..5 {
        let task = format!("round-{round}");
        let staged = bench.stage(&task, spec(LoadMode::Append), &two_parts()).await;
        let job = staged.job();
        let clients = [bench.new_client(), bench.new_client()];
        let both = tokio::join!(load::run(&clients[0], &job), load::run(&clients[1], &job));
        // Where Snowflake lets the second one wait, the emulator lets it fail: it comes back.
        for result in [both.0, both.1] {
            if result.is_err() {
                assert_eq!(load::run(&bench.new_client(), &job).await.unwrap().rows_loaded, 3);
            }
        }
        let [rows, control] = bench.state().await;
        assert_eq!(rows.len(), 3 * (round + 1), "{control:?}");
    }
}

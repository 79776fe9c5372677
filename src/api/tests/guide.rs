//! `docs/API.md` says what is true.

use super::*;
use crate::api::problem::ProblemKind;

const GUIDE: &str = include_str!("../../../docs/API.md");
const STAGES: &str = include_str!("../../../docs/snowflake/stages.md");

/// The code blocks of the guide whose fence has these words.
fn blocks(fence: &str) -> Vec<&'static str> {
    blocks_of(GUIDE, fence)
}

fn blocks_of(document: &'static str, fence: &str) -> Vec<&'static str> {
    let opening = format!("\n```{fence}\n");
    document.split(&opening).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

#[tokio::test]
async fn its_tasks_are_accepted() {
    let agent = Agent::start().await;
    let tasks = blocks("json task");
    assert_eq!(tasks.len(), 2);
    for task in tasks.into_iter().chain(blocks_of(STAGES, "json task")) {
        let answer = agent.submit_text(task).await;
        assert_eq!(answer.status, 202, "{task}\n{}", answer.text);
    }
}

#[test]
fn its_examples_are_json() {
    for block in blocks("json") {
        assert!(serde_json::from_str::<Value>(block).is_ok(), "{block}");
    }
}

#[test]
fn it_has_every_route_and_every_kind_of_problem() {
    for path in openapi().paths.paths.keys() {
        assert!(GUIDE.contains(path), "{path}");
    }
    for kind in ProblemKind::ALL {
        let name = kind.name().rsplit_once(':').unwrap().1;
        let row = format!("| `{name}` | {} |", kind.status().as_u16());
        assert!(GUIDE.contains(&row), "{row}");
    }
}

#[tokio::test]
async fn its_shape_of_a_task_is_the_real_one() {
    let agent = Agent::start().await;
    agent.submit(&nested("1")).await;
    let example: Value = blocks("json")
        .iter()
        .map(|block| serde_json::from_str(block).unwrap())
        .find(|block: &Value| block.get("attempts").is_some())
        .unwrap();
    let shown = agent.get("/tasks/1").await.body;
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&shown), names(&example));
}

//! The procedures of the queue: their calls with bound values, and what they answer.
//!
//! The four of version 1.2.0 are always there. `EXTEND_LEASES`, `RELEASE_TASK` and `REJECT_TASK` belong to
//! the server side in `docs/snowflake`; whether they are there is found out once.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::holdings::Holding;
use crate::config::SnowflakeProcedures;
use crate::fault::{Fault, FaultKind};
use crate::snowflake::{Binding, Client, Error, QueryTag, Row, Statement, Table};

/// What agents call themselves since version 1.2.0.
const AGENT_TYPE: &str = "data-exchange-agent";
/// Longest time for one call. A lease lives five minutes, so that several calls fit into it; a warehouse
/// resumes within seconds.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Snowflake: no such function or procedure, or not with these arguments.
const UNKNOWN_PROCEDURE: [u32; 4] = [2003, 2140, 2141, 1044];

/// The id of a task, as the queue gave it and wants it back: a number stays a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct QueueTaskId {
    pub(super) text: String,
    pub(super) is_number: bool,
}

impl QueueTaskId {
    fn binding(&self) -> Binding {
        if self.is_number { Binding::Decimal(self.text.clone()) } else { Binding::text(self.text.clone()) }
    }
}

/// A task that was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pulled {
    pub(super) id: QueueTaskId,
    pub(super) payload: Option<String>,
    /// From 1, where the server counts.
    pub(super) attempt: u32,
}

/// What became of a task, as the queue is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// Its files are committed; with the receipt as JSON.
    Completed { receipt: String },
    /// An attempt failed; the queue decides whether there is another one.
    Failed { message: String },
    /// It failed, and would again.
    Rejected { message: String },
    /// It is given back.
    Released,
}

/// What the server can do beyond version 1.2.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Abilities {
    /// `EXTEND_LEASES`: leases are refreshed and asked for by task, and `COMPLETE_TASK` takes a receipt.
    pub(super) extends: bool,
    pub(super) releases: bool,
    pub(super) rejects: bool,
    /// `RECORD_HISTORY`: runs and log lines are kept there too.
    pub(super) records: bool,
}

pub(super) struct Procedures {
    client: Client,
    /// `DATABASE.SCHEMA`, spelled for SQL and proven by the configuration.
    place: String,
    /// The part of the place that lists procedures, and the name of the schema there.
    database: String,
    schema_name: String,
    affinity: Option<String>,
    abilities: OnceCell<Abilities>,
}

impl Procedures {
    pub(super) fn new(client: Client, settings: &SnowflakeProcedures, affinity: Option<&str>) -> Self {
        Self {
            client,
            place: format!("{}.{}", settings.database, settings.schema),
            database: settings.database.clone(),
            schema_name: stored_name(&settings.schema),
            affinity: affinity.map(str::to_owned),
            abilities: OnceCell::new(),
        }
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Opens the session, where there is none yet.
    pub(super) async fn log_in(&self) -> Result<(), Fault> {
        self.client.log_in().await.map_err(|error| self.failed("pull tasks", error))
    }

    /// What the server can do; asked once.
    pub(super) async fn abilities(&self) -> Result<Abilities, Fault> {
        self.abilities.get_or_try_init(|| self.find_abilities()).await.copied()
    }

    /// The same without asking.
    pub(super) fn known_abilities(&self) -> Option<Abilities> {
        self.abilities.get().copied()
    }

    /// The names of the procedures that the role sees.
    pub(super) async fn names(&self) -> Result<HashSet<String>, Fault> {
        let sql = format!(
            "SELECT PROCEDURE_NAME AS NAME FROM {}.INFORMATION_SCHEMA.PROCEDURES WHERE PROCEDURE_SCHEMA = ?",
            self.database
        );
        let statement = Statement::new(sql).bind(self.schema_name.as_str()).timeout(CALL_LIMIT);
        let statement = statement.query_tag(&QueryTag::default());
        let table = match self.client.run(&statement).await {
            Ok(table) => table,
            Err(error) if error.is_missing_object() => Table::default(),
            Err(error) => return Err(self.failed("look at its procedures", error)),
        };
        Ok(table.rows.iter().filter_map(|row| table.value(row, "NAME").map(str::to_owned)).collect())
    }

    async fn find_abilities(&self) -> Result<Abilities, Fault> {
        let names = self.names().await?;
        let abilities = Abilities {
            extends: names.contains("EXTEND_LEASES"),
            releases: names.contains("RELEASE_TASK"),
            rejects: names.contains("REJECT_TASK"),
            records: names.contains("RECORD_HISTORY"),
        };
        tracing::info!(
            queue = self.place,
            extend_leases = abilities.extends,
            release_task = abilities.releases,
            reject_task = abilities.rejects,
            "the queue in Snowflake is found"
        );
        Ok(abilities)
    }

    /// `CALL PULL_TASKS(agent, type, affinity, limit)`. An error says whether the server may have leased
    /// tasks nevertheless.
    pub(super) async fn pull(&self, agent: &str, limit: usize) -> Result<Vec<Pulled>, (Fault, bool)> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let statement = self
            .call("PULL_TASKS", 4)
            .bind(agent)
            .bind(AGENT_TYPE)
            .bind(self.affinity.as_deref())
            .bind(limit)
            .query_tag(&tag(agent));
        let table = self.client.run(&statement).await.map_err(|error| {
            let is_unknown = error.is_outcome_unknown() || error.is_cancelled();
            (self.failed("pull tasks", error), is_unknown)
        })?;
        let is_number = table.column("ID").is_some_and(|place| table.columns[place].data_type == "fixed");
        let pulled = |row: &Row| {
            let Some(id) = table.value(row, "ID").filter(|id| !id.is_empty()) else {
                tracing::error!(queue = self.place, "a pulled task has no ID; its lease will run out");
                return None;
            };
            Some(Pulled {
                id: QueueTaskId { text: id.to_owned(), is_number },
                payload: table.value(row, "PAYLOAD").map(str::to_owned),
                attempt: table.value(row, "ATTEMPT").and_then(|attempt| attempt.parse().ok()).unwrap_or(1),
            })
        };
        Ok(table.rows.iter().filter_map(pulled).collect())
    }

    /// Tells what became of a task. False when the lease was not the agent's any more.
    pub(super) async fn report(&self, holding: &Holding, report: &Report) -> Result<bool, Fault> {
        let Holding { agent, task: id, attempt, .. } = holding;
        let agent = agent.as_str();
        let abilities = self.abilities().await?;
        // Mind the order: COMPLETE takes the agent first, the others take the task first.
        let (name, statement) = match report {
            Report::Completed { receipt } if abilities.extends => {
                let call = self.call("COMPLETE_TASK", 3);
                ("COMPLETE_TASK", call.bind(agent).bind(id.binding()).bind(receipt.as_str()))
            }
            Report::Completed { .. } => {
                ("COMPLETE_TASK", self.call("COMPLETE_TASK", 2).bind(agent).bind(id.binding()))
            }
            Report::Rejected { message } if abilities.rejects => {
                let call = self.call("REJECT_TASK", 3);
                ("REJECT_TASK", call.bind(id.binding()).bind(agent).bind(message.as_str()))
            }
            Report::Failed { message } | Report::Rejected { message } => {
                let call = self.call("FAIL_TASK", 3);
                ("FAIL_TASK", call.bind(id.binding()).bind(agent).bind(message.as_str()))
            }
            Report::Released => ("RELEASE_TASK", self.call("RELEASE_TASK", 2).bind(id.binding()).bind(agent)),
        };
        let attempt = Some(*attempt);
        let tag = QueryTag { agent: Some(agent.to_owned()), task: Some(id.text.clone()), attempt };
        let statement = statement.query_tag(&tag);
        self.ask(name, &statement).await
    }

    /// `CALL REFRESH_LEASES(agent)`: true when the agent holds any lease.
    pub(super) async fn refresh(&self, agent: &str) -> Result<bool, Fault> {
        let statement = self.call("REFRESH_LEASES", 1).bind(agent).query_tag(&tag(agent));
        self.ask("REFRESH_LEASES", &statement).await
    }

    /// `CALL EXTEND_LEASES(agent, ids)`: those of the tasks that the agent holds.
    pub(super) async fn extend(&self, agent: &str, ids: &[&QueueTaskId]) -> Result<HashSet<String>, Fault> {
        let texts: Vec<&str> = ids.iter().map(|id| id.text.as_str()).collect();
        let statement = self
            .call("EXTEND_LEASES", 2)
            .bind(agent)
            .bind(Binding::json(&json!(texts)))
            .query_tag(&tag(agent));
        let table = self.client.run(&statement).await;
        let table = table.map_err(|error| self.failed("extend leases", error))?;
        Ok(table.rows.iter().filter_map(|row| table.value(row, "ID").map(str::to_owned)).collect())
    }

    /// `CALL QUEUE_DEPTH(affinity)`: tasks that an agent of this affinity could take now.
    pub(super) async fn depth(&self) -> Result<u64, Fault> {
        const NAME: &str = "QUEUE_DEPTH";

        let statement = self.call(NAME, 1).bind(self.affinity.as_deref());
        let table = self.client.run(&statement).await.map_err(|error| self.failed(NAME, error))?;
        table.single().and_then(|answer| answer.parse().ok()).ok_or_else(|| {
            Fault::new(FaultKind::Request, self.action(NAME))
                .because("it answered no number")
                .remedy("Check that the procedures are those of docs/snowflake/setup.sql.")
        })
    }

    /// `CALL RECORD_HISTORY(agent, history)`. False when the server has no such procedure.
    pub(super) async fn record(&self, agent: &str, history: &Value) -> Result<bool, Fault> {
        if !self.abilities().await?.records {
            return Ok(false);
        }
        let statement =
            self.call("RECORD_HISTORY", 2).bind(agent).bind(Binding::json(history)).query_tag(&tag(agent));
        self.ask("RECORD_HISTORY", &statement).await.map(|_answer| true)
    }

    /// A call with `count` values to bind.
    fn call(&self, name: &str, count: usize) -> Statement {
        let marks = vec!["?"; count].join(", ");
        Statement::new(format!("CALL {}.{name}({marks})", self.place)).timeout(CALL_LIMIT)
    }

    /// Calls a procedure that answers true or false in a column of its own name.
    async fn ask(&self, name: &'static str, statement: &Statement) -> Result<bool, Fault> {
        let table = self.client.run(statement).await.map_err(|error| self.failed(name, error))?;
        let answer = table.rows.first().and_then(|row| table.value(row, name)).or_else(|| table.single());
        match answer.map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "1") => Ok(true),
            Some("false" | "0") | None => Ok(false),
            Some(_) => Err(Fault::new(FaultKind::Request, self.action(name))
                .because("it answered neither true nor false")
                .remedy("Check that the procedures are those of docs/snowflake/setup.sql.")),
        }
    }

    fn action(&self, what: &str) -> String {
        format!("ask the queue {} in Snowflake to {what}", self.place)
    }

    fn failed(&self, what: &str, error: Error) -> Fault {
        let is_unknown = error.code().is_some_and(|code| UNKNOWN_PROCEDURE.contains(&code));
        let action = self.action(what);
        let fault = Fault::from(error).while_doing(action);
        if is_unknown {
            return fault.remedy(
                "Check `database` and `schema` of task_source.snowflake_stored_procedure, and that the role has USAGE \
                 on the procedures there; docs/snowflake/setup.sql creates them.",
            );
        }
        fault
    }
}

/// Of a call that is about no single task.
fn tag(agent: &str) -> QueryTag {
    QueryTag { agent: Some(agent.to_owned()), ..QueryTag::default() }
}

/// The name under which Snowflake lists an identifier.
fn stored_name(identifier: &str) -> String {
    match identifier.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => identifier.to_ascii_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_looked_for_as_snowflake_stores_them() {
        for (written, stored) in
            [("data_migration", "DATA_MIGRATION"), ("\"Case\"", "Case"), ("\"a\"\"b\"", "a\"b")]
        {
            assert_eq!(stored_name(written), stored);
        }
    }
}

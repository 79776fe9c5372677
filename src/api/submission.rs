//! The body of `POST /tasks`: one task or an array of them, each in one of two forms.

use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::schema::{ArrayBuilder, OneOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::fields::{Findings, expected};
use super::flat::{self, FlatTaskRequest};
use super::problem::Problem;
use super::task_request::{SourceRequest, TaskRequest};
use crate::bounds::TaskBounds;
use crate::catalog::Catalog;
use crate::source::read_only;
use crate::task::{FileFormat, Read, SourceSpec, Task, TaskSpec};

/// Tasks of one array.
const MAX_TASKS: usize = 1000;

/// What a body asks for.
#[derive(Debug)]
pub(super) struct Submission {
    /// The tasks, at least one.
    pub(super) tasks: Vec<Wanted>,
    /// Whether the answer has to be a list, too.
    pub(super) is_list: bool,
}

/// A task that can be submitted.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) task: Task,
    /// What the caller should know about the way the task was understood.
    pub(super) notes: Vec<String>,
}

/// Reads a body and checks every task against the configured connections.
pub(super) fn read(
    body: &Value,
    catalog: &Catalog,
    default_format: FileFormat,
    bounds: &TaskBounds,
) -> Result<Submission, Problem> {
    let mut findings = Findings::default();
    let (values, is_list) = match body {
        Value::Object(_) => (std::slice::from_ref(body), false),
        Value::Array(values) => (values.as_slice(), true),
        other => {
            findings.add(String::new(), expected("a task, or an array of tasks", other));
            (&[][..], false)
        }
    };
    if is_list && !(1..=MAX_TASKS).contains(&values.len()) {
        findings.add(String::new(), format!("expected 1 to {MAX_TASKS} tasks, found {}", values.len()));
        return findings.or_problem(Submission { tasks: Vec::new(), is_list });
    }
    let mut tasks = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let pointer = if is_list { format!("/{index}") } else { String::new() };
        tasks.extend(read_one(value, &pointer, catalog, default_format, bounds, &mut findings));
    }
    findings.or_problem(Submission { tasks, is_list })
}

/// Reads one task that did not come over HTTP, and that may do what `bounds` say. What is wrong comes as
/// pointer and detail.
pub fn read_task(
    value: &Value,
    catalog: &Catalog,
    default_format: FileFormat,
    bounds: &TaskBounds,
) -> Result<Task, Vec<(String, String)>> {
    let mut findings = Findings::default();
    match read_one(value, "", catalog, default_format, bounds, &mut findings) {
        Some(wanted) if findings.count() == 0 => Ok(wanted.task),
        _ => Err(findings.into_pairs()),
    }
}

fn read_one(
    value: &Value,
    pointer: &str,
    catalog: &Catalog,
    default_format: FileFormat,
    bounds: &TaskBounds,
    findings: &mut Findings,
) -> Option<Wanted> {
    let has = |name: &str| value.get(name).is_some();
    let is_nested = has("source_config") || has("destination_config");
    if is_nested || !flat::OWN_FIELDS.iter().any(|name| has(name)) {
        let Some(request) = TaskRequest::read(value, pointer, findings) else {
            check_source_of_wrong(value, pointer, catalog, bounds, findings);
            return None;
        };
        let task = request.into_task(default_format);
        check(&task.spec, catalog, bounds, findings, |field| format!("{pointer}{field}"));
        return Some(Wanted { task, notes: Vec::new() });
    }
    let request = FlatTaskRequest::read(value, pointer, findings)?;
    let wrong_database = wrong_database(&request, catalog);
    let notes = request.schema.iter().map(|_| SCHEMA_NOTE.to_owned()).collect();
    let task = request.into_nested().into_task(default_format);
    let is_allowed = check(&task.spec, catalog, bounds, findings, |field| {
        format!("{pointer}{}", flat::own_pointer(field))
    });
    if let Some(detail) = wrong_database.filter(|_| is_allowed) {
        findings.add(format!("{pointer}/database"), detail);
    }
    Some(Wanted { task, notes })
}

/// Of a task with wrong fields: whether its source is there and its query only reads, when that part of it
/// is right. Bounds are told when the whole task is.
fn check_source_of_wrong(
    value: &Value,
    pointer: &str,
    catalog: &Catalog,
    bounds: &TaskBounds,
    findings: &mut Findings,
) {
    let Some(source) = value.get("source_config") else { return };
    let mut told = Findings::default();
    let source = SourceRequest::read(source, "", &mut told);
    let Some(source) = source.filter(|_| told.count() == 0) else { return };
    let spec = source.into_spec();
    if catalog.source_breach(&spec, bounds).is_some() {
        return;
    }
    if let Some(misfit) = catalog.source_misfit(&spec, bounds) {
        findings.add(format!("{pointer}{}", misfit.pointer), misfit.detail);
    }
    check_read(&spec, catalog, |field, detail| findings.add(format!("{pointer}{field}"), detail));
}

const SCHEMA_NOTE: &str = "`schema` does not change what is read: the statement runs as it is written";

/// Checks a task against its bounds and, when it is inside, against the configuration: whoever may not use
/// a connection learns nothing of it. True when it is inside.
fn check(
    spec: &TaskSpec,
    catalog: &Catalog,
    bounds: &TaskBounds,
    findings: &mut Findings,
    pointer: impl Fn(&str) -> String,
) -> bool {
    let breaches = catalog.breaches(spec, bounds);
    if breaches.is_empty() {
        check_fit(spec, catalog, bounds, |field, detail| findings.add(pointer(field), detail));
        return true;
    }
    for breach in breaches {
        findings.refuse(pointer(breach.pointer), breach.detail);
    }
    false
}

/// Everything that can be known about a task before it runs. `report` takes a pointer into the
/// nested form, and what is wrong there.
fn check_fit(spec: &TaskSpec, catalog: &Catalog, bounds: &TaskBounds, mut report: impl FnMut(&str, String)) {
    for misfit in catalog.misfits(spec, bounds) {
        report(misfit.pointer, misfit.detail);
    }
    check_read(&spec.source, catalog, report);
}

/// The same for a source alone, with its bounds.
pub(super) fn check_source(
    spec: &SourceSpec,
    catalog: &Catalog,
    bounds: &TaskBounds,
    findings: &mut Findings,
) {
    if let Some(breach) = catalog.source_breach(spec, bounds) {
        findings.refuse(breach.pointer.to_owned(), breach.detail);
        return;
    }
    if let Some(misfit) = catalog.source_misfit(spec, bounds) {
        findings.add(misfit.pointer.to_owned(), misfit.detail);
    }
    check_read(spec, catalog, |pointer, detail| findings.add(pointer.to_owned(), detail));
}

fn check_read(spec: &SourceSpec, catalog: &Catalog, mut report: impl FnMut(&str, String)) {
    let info = catalog.source_info(&spec.connection);
    let Some(dialect) = info.and_then(|info| info.dialect) else { return };
    let (pointer, checked) = match &spec.read {
        Read::Query(sql) => ("/source_config/query", read_only::check(sql, dialect).map(drop)),
        Read::Table(name) => ("/source_config/table", read_only::parse_table_name(name, dialect).map(drop)),
    };
    if let Err(fault) = checked {
        // Both checks are made so that their words hold no literal.
        let remedy = fault.hint().map(|hint| format!(". {hint}")).unwrap_or_default();
        report(pointer, format!("{}{remedy}", fault.chain()));
    }
}

/// Why the `database` of a flat task cannot be honoured. A connection reads one database; reading
/// another one than the task names would be the wrong rows.
fn wrong_database(request: &FlatTaskRequest, catalog: &Catalog) -> Option<String> {
    let wanted = request.database.as_deref()?;
    // An unknown connection is an error of its own.
    let info = catalog.source_info(&request.engine)?;
    match info.database.as_deref() {
        Some(configured) if configured == wanted => None,
        Some(configured) => Some(format!(
            "source connection `{}` reads the database `{configured}`; name that one or none, or configure \
             a connection for another database",
            request.engine
        )),
        None => Some(format!(
            "source connection `{}` does not tell its database, so that this cannot be checked; leave it out",
            request.engine
        )),
    }
}

/// For the OpenAPI document: one task in either form, or an array of them.
#[derive(Debug, Serialize)]
pub(super) struct TaskSubmission;

impl PartialSchema for TaskSubmission {
    fn schema() -> RefOr<Schema> {
        let one = || {
            OneOfBuilder::new()
                .item(Ref::from_schema_name(TaskRequest::name()))
                .item(Ref::from_schema_name(FlatTaskRequest::name()))
        };
        let array = ArrayBuilder::new().items(one()).min_items(Some(1)).max_items(Some(MAX_TASKS));
        RefOr::T(Schema::OneOf(one().item(array).build()))
    }
}

impl ToSchema for TaskSubmission {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((TaskRequest::name().into_owned(), TaskRequest::schema()));
        TaskRequest::schemas(schemas);
        schemas.push((FlatTaskRequest::name().into_owned(), FlatTaskRequest::schema()));
        FlatTaskRequest::schemas(schemas);
    }
}

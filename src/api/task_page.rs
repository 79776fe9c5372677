//! The listing of `GET /tasks`: its parameters, and pages of a bounded weight.

use std::num::NonZeroU32;

use super::Shared;
use super::extract;
use super::fields::{Findings, list as names};
use super::problem::Problem;
use crate::task::{Read, Report};
use crate::task_source::local::{TaskRecord, TaskState};

/// Tasks of a page when the request does not say.
const DEFAULT_PAGE: u32 = 50;
/// Tasks of a page at most.
const MAX_PAGE: u32 = 500;
/// Tasks that are read from the queue at once for a page.
const PAGE_STEP: u32 = 25;
/// A page ends behind the task with which its texts weigh this much.
const MAX_PAGE_BYTES: usize = 2 << 20;
/// About what a file or an attempt takes besides its texts.
const ENTRY_BYTES: usize = 128;

/// Collects a page in steps, so that its weight is bounded: one task can have a megabyte of SQL, or the
/// receipt of thousands of files.
pub(super) async fn page(
    api: &Shared,
    request: &ListRequest,
) -> Result<(Vec<TaskRecord>, Option<i64>), Problem> {
    let mut records: Vec<TaskRecord> = Vec::new();
    let mut before = request.before;
    let mut bytes = 0;
    let mut left = request.limit.get();
    loop {
        let step = NonZeroU32::new(left.min(PAGE_STEP)).expect("the loop ends when nothing is left");
        let page = api.agent.queue.list(request.status, before, step).await?;
        let mut rest = page.tasks.into_iter();
        while let Some(record) = rest.next() {
            bytes += weight(&record);
            let sequence = record.sequence;
            records.push(record);
            if bytes > MAX_PAGE_BYTES && rest.len() > 0 {
                return Ok((records, Some(sequence)));
            }
        }
        left -= step.get();
        before = page.next;
        if before.is_none() || left == 0 || bytes > MAX_PAGE_BYTES {
            return Ok((records, before));
        }
    }
}

/// About how many bytes a task takes in an answer, as far as it can be many.
fn weight(record: &TaskRecord) -> usize {
    let read = match &record.task.spec.source.read {
        Read::Query(text) | Read::Table(text) => text.len(),
    };
    let report = |report: &Report| report.message.len() + report.hint.as_ref().map_or(0, String::len);
    let attempts = record.attempts.iter();
    let attempts: usize =
        attempts.map(|attempt| ENTRY_BYTES + attempt.report.as_ref().map_or(0, report)).sum();
    let files = record.receipt.iter().flat_map(|receipt| &receipt.files);
    let files: usize = files.map(|file| ENTRY_BYTES + file.location.len() + file.sha256.len()).sum();
    read + attempts + files
}

/// The query parameters of a listing.
pub(super) struct ListRequest {
    status: Option<TaskState>,
    limit: NonZeroU32,
    before: Option<i64>,
}

impl ListRequest {
    pub(super) fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut findings = Findings::default();
        let mut request =
            Self { status: None, limit: NonZeroU32::new(DEFAULT_PAGE).expect("not zero"), before: None };
        for (name, value) in extract::parameters(query, &["status", "limit", "cursor"], &mut findings) {
            match name {
                "status" => match TaskState::from_name(&value) {
                    Some(status) => request.status = Some(status),
                    None => {
                        let known = TaskState::ALL.map(TaskState::as_str);
                        findings.add_parameter(name, format!("expected one of {}", names(&known)));
                    }
                },
                "limit" => match value.parse::<NonZeroU32>() {
                    Ok(limit) if limit.get() <= MAX_PAGE => request.limit = limit,
                    Ok(_) | Err(_) => {
                        findings.add_parameter(name, format!("expected a whole number from 1 to {MAX_PAGE}"));
                    }
                },
                _ => match u64::from_str_radix(&value, 16).ok().and_then(|cursor| i64::try_from(cursor).ok())
                {
                    Some(before) => request.before = Some(before),
                    None => findings.add_parameter(name, "expected the `next_cursor` of an earlier page"),
                },
            }
        }
        findings.or_problem(request)
    }

    pub(super) fn link(&self, cursor: &str) -> String {
        let status = self.status.map(|status| format!("status={}&", status.as_str())).unwrap_or_default();
        format!("</tasks?{status}limit={}&cursor={cursor}>; rel=\"next\"", self.limit)
    }
}

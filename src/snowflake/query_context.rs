//! What the server wants to hear again with the next statement of a session, so that hybrid tables
//! show what was just written to them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::envelope;

/// Entries that are kept when the server does not say how many.
const DEFAULT_CAPACITY: usize = 5;

/// The newest entry of each identifier.
#[derive(Default)]
pub(super) struct QueryContext {
    entries: BTreeMap<u64, Entry>,
    capacity: Option<usize>,
}

struct Entry {
    timestamp: u64,
    priority: u64,
    /// Opaque.
    context: Option<String>,
}

impl QueryContext {
    /// Sets how many entries are kept, as the session's parameters say.
    pub(super) fn set_capacity(&mut self, capacity: Option<u64>) {
        self.capacity = capacity.and_then(|capacity| usize::try_from(capacity).ok());
    }

    /// Takes in what an answer brings.
    pub(super) fn update(&mut self, answer: &Value) {
        let Some(context) = answer.get("queryContext") else { return };
        let Some(entries) = context.get("entries").and_then(Value::as_array) else {
            self.entries.clear();
            return;
        };
        for entry in entries {
            let member = |name| envelope::count(entry, name);
            let (Some(id), Some(timestamp), Some(priority)) =
                (member("id"), member("timestamp"), member("priority"))
            else {
                continue;
            };
            let context = match entry.get("context") {
                Some(Value::String(context)) => Some(context.clone()),
                Some(context) => envelope::text(context, "base64Data"),
                None => None,
            };
            if self.entries.get(&id).is_none_or(|known| known.timestamp <= timestamp) {
                // A priority belongs to one entry.
                self.entries.retain(|_, known| known.priority != priority);
                self.entries.insert(id, Entry { timestamp, priority, context });
            }
        }
        while self.entries.len() > self.capacity.unwrap_or(DEFAULT_CAPACITY) {
            let last = self.entries.iter().max_by_key(|(_, entry)| entry.priority).map(|(id, _)| *id);
            let Some(last) = last else { break };
            self.entries.remove(&last);
        }
    }

    /// `queryContextDTO` of a request; `None` when there is nothing to say.
    pub(super) fn to_json(&self) -> Option<Value> {
        if self.entries.is_empty() {
            return None;
        }
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(_, entry)| entry.priority);
        let entries = entries.into_iter().map(|(id, entry)| {
            let context =
                entry.context.as_ref().map_or_else(|| json!({}), |text| json!({"base64Data": text}));
            json!({"id": id, "timestamp": entry.timestamp, "priority": entry.priority, "context": context})
        });
        Some(json!({"entries": entries.collect::<Vec<_>>()}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64, timestamp: u64, priority: u64) -> Value {
        json!({"id": id, "timestamp": timestamp, "priority": priority, "context": format!("c{timestamp}")})
    }

    fn identifiers(context: &QueryContext) -> Vec<(u64, u64)> {
        let Some(value) = context.to_json() else { return Vec::new() };
        let entries = value["entries"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| (entry["id"].as_u64().unwrap(), entry["timestamp"].as_u64().unwrap()))
            .collect()
    }

    #[test]
    fn the_newest_entries_are_kept_in_the_order_of_their_priority() {
        let mut context = QueryContext::default();
        context
            .update(&json!({"queryContext": {"entries": [entry(0, 5, 0), entry(1, 5, 2), entry(2, 5, 1)]}}));
        assert_eq!(identifiers(&context), [(0, 5), (2, 5), (1, 5)]);
        context.update(&json!({"queryContext": {"entries": [entry(0, 4, 0), entry(1, 9, 3)]}}));
        assert_eq!(identifiers(&context), [(0, 5), (2, 5), (1, 9)]);
        context.set_capacity(Some(2));
        context.update(&json!({"queryContext": {"entries": []}}));
        assert_eq!(identifiers(&context), [(0, 5), (2, 5)]);
        context.update(&json!({"other": 1}));
        assert_eq!(identifiers(&context).len(), 2);
        context.update(&json!({"queryContext": null}));
        assert!(context.to_json().is_none());
    }
}

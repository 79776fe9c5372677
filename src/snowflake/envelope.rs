//! The envelope of every answer: success, code, message and data. Read leniently, because servers
//! leave members out and write numbers as text.

use serde_json::Value;

use super::codes;
use super::error::Error;

/// One answer.
pub(super) struct Envelope {
    pub(super) success: bool,
    /// The code as it was written; digits with leading zeros.
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) data: Value,
}

impl Envelope {
    /// Reads a body; `None` when it is no JSON object, and so no answer of Snowflake.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let Ok(Value::Object(mut answer)) = serde_json::from_slice(body) else { return None };
        let code = match answer.remove("code") {
            Some(Value::String(code)) if !code.is_empty() => Some(code),
            Some(Value::Number(code)) => Some(code.to_string()),
            Some(_) | None => None,
        };
        let message = match answer.remove("message") {
            Some(Value::String(message)) => Some(message),
            Some(_) | None => None,
        };
        let data = answer.remove("data").unwrap_or(Value::Null);
        let success = match answer.get("success") {
            Some(Value::Bool(success)) => *success,
            Some(Value::String(success)) => success.eq_ignore_ascii_case("true"),
            // Without a verdict, an answer that has data and no code is a good one.
            Some(_) | None => code.is_none() && !data.is_null(),
        };
        Some(Self { success, code, message, data })
    }

    /// What stands for an HTTP status that says "log in" without an answer in the body.
    pub(super) fn expired() -> Self {
        Self {
            success: false,
            code: Some(codes::SESSION_EXPIRED.to_string()),
            message: None,
            data: Value::Null,
        }
    }

    /// The code as a number.
    pub(super) fn number(&self) -> Option<u32> {
        self.code.as_deref().and_then(|code| code.trim().parse().ok())
    }

    /// True while the statement still runs.
    pub(super) fn is_in_progress(&self) -> bool {
        self.number().is_some_and(|code| codes::IN_PROGRESS.contains(&code))
    }

    /// The data, or what the answer says against it.
    pub(super) fn into_data(self, action: &'static str) -> Result<Value, Error> {
        if self.success { Ok(self.data) } else { Err(self.error(action)) }
    }

    /// The failure that this answer tells of.
    pub(super) fn error(&self, action: &'static str) -> Error {
        Error::answered(action, self.code.as_deref(), self.message.as_deref(), &self.data)
    }
}

/// A member as text, when it is a text or a number.
pub(super) fn text(value: &Value, name: &str) -> Option<String> {
    match value.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(_) | None => None,
    }
}

/// A member as a count, when it is a number or digits.
pub(super) fn count(value: &Value, name: &str) -> Option<u64> {
    match value.get(name) {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) | None => None,
    }
}

/// A member as a truth.
pub(super) fn truth(value: &Value, name: &str) -> Option<bool> {
    match value.get(name) {
        Some(Value::Bool(truth)) => Some(*truth),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_however_it_writes_its_members() {
        let cases = [
            (r#"{"success":true,"code":null,"message":null,"data":{}}"#, true, None),
            (r#"{"success":true}"#, true, None),
            (r#"{"data":{"x":1}}"#, true, None),
            (r#"{"success":false,"code":"002003","message":"m"}"#, false, Some(2003)),
            (r#"{"success":"false","code":390112}"#, false, Some(390_112)),
            (r#"{"code":"333334","success":true,"data":null}"#, true, Some(333_334)),
            (r"{}", false, None),
        ];
        for (body, success, code) in cases {
            let envelope = Envelope::parse(body.as_bytes()).unwrap();
            assert_eq!((envelope.success, envelope.number()), (success, code), "{body}");
        }
        for body in ["", "Not Found", "[]", "null", "<html>"] {
            assert!(Envelope::parse(body.as_bytes()).is_none(), "{body}");
        }
    }
}

//! The trace that a task belongs to, as W3C Trace Context writes it.

use serde::{Deserialize, Serialize};

/// A `traceparent` header (<https://www.w3.org/TR/trace-context/>), or none.
///
/// Two of them are always equal: which trace watches a task does not change what the task is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Traceparent(Option<String>);

impl PartialEq for Traceparent {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Traceparent {}

impl Traceparent {
    /// Reads a header. None when it is not one: the specification asks to go on without.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parts(text).map(|_| Self(Some(text.to_owned())))
    }

    /// The header.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// True when there is no trace.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The trace, the span in it that is the parent, and the flags.
    #[must_use]
    pub fn parts(&self) -> Option<(u128, u64, u8)> {
        parts(self.0.as_deref()?)
    }
}

fn parts(text: &str) -> Option<(u128, u64, u8)> {
    let mut fields = text.split('-');
    let version = hexadecimal(fields.next()?, 2)?;
    let trace = hexadecimal(fields.next()?, 32)?;
    let parent = u64::try_from(hexadecimal(fields.next()?, 16)?).ok()?;
    let flags = u8::try_from(hexadecimal(fields.next()?, 2)?).ok()?;
    // A later version may have more fields; the first one has not.
    let is_known = version != 0xff && (version != 0 || fields.next().is_none());
    (is_known && trace != 0 && parent != 0).then_some((trace, parent, flags))
}

fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == digits && is_lower).then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_read_into_its_parts() {
        let expected = (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7, 1);
        assert_eq!(Traceparent::parse(GOOD).unwrap().parts(), Some(expected));
        let later = format!("{}-more", GOOD.replacen("00", "01", 1));
        assert_eq!(Traceparent::parse(&later).unwrap().parts(), Some(expected));
    }

    #[test]
    fn what_is_no_header_is_none() {
        for text in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(Traceparent::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn two_traces_make_no_other_task() {
        assert_eq!(Traceparent::parse(GOOD).unwrap(), Traceparent::default());
    }
}

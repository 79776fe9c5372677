//! Names of objects in URLs.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but unreserved characters (RFC 3986) and the slash between segments.
const SEGMENT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A name as the path of a URL has it.
pub(super) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, &SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_encoded_by_segments() {
        assert_eq!(encoded("a/b c/dt=1&x?#%+ü/~-._"), "a/b%20c/dt%3D1%26x%3F%23%25%2B%C3%BC/~-._");
    }
}

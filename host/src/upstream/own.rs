//! Calls of this node that come back to it: an upstream that leads here would ask it again and again. Each call of an upstream bears the
//! node's mark in `cdn-loop`, and a request that bears it is refused. <https://www.rfc-editor.org/rfc/rfc8586>

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Where the mark is.
pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// The mark of this process: a pseudonym, which no other has.
static MARK: LazyLock<HeaderValue> = LazyLock::new(|| {
    let mark = HeaderValue::try_from(format!("selvedge-{:032x}", fastrand::u128(..)));
    mark.unwrap_or(HeaderValue::from_static("selvedge"))
});

/// The mark as a header's value.
#[must_use]
pub fn mark() -> HeaderValue {
    MARK.clone()
}

/// Whether a request is one of this node's own.
#[must_use]
pub fn is_own(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CDN_LOOP).into_iter();
    let words = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words
        .filter_map(|word| word.split(|byte| *byte == b';').next())
        .any(|name| name.trim_ascii() == MARK.as_bytes())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::{CDN_LOOP, is_own, mark};

    #[test]
    fn knows_its_own_mark_among_others() {
        let mut headers = HeaderMap::new();
        assert!(!is_own(&headers));
        headers.append(
            CDN_LOOP,
            "other.example; a=b, selvedge-0".parse().expect("a value"),
        );
        assert!(!is_own(&headers));
        let own = format!("other.example,{} ; v=1", mark().to_str().expect("text"));
        headers.append(CDN_LOOP, own.parse().expect("a value"));
        assert!(is_own(&headers));
    }
}

//! Lists that a peer hands out page by page, counted from 1.
//!
//! ```
//! use bascule_sdk::pages::{self, Page};
//! use serde_json::json;
//!
//! let rows = pages::all("sensor", "readings", None, |number| {
//!     // Here a request for page `number` is sent, and its answer read.
//!     Ok(Page { rows: vec![json!({ "id": number })], last: number == 3 })
//! });
//! assert_eq!(rows.unwrap().len(), 3);
//! ```

use serde_json::Value;

use crate::types::Error;

/// What one page has.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Its rows. A page without any ends the list, whatever `last` says.
    pub rows: Vec<Value>,
    /// Whether the peer says that nothing comes after it.
    pub last: bool,
}

/// All rows of a list, at most `limit`. `plugin` and `list` name it in an error's code and message. `read` is called for page 1, 2, 3 and so on until a page is empty or the last one, or there
/// are enough rows.
///
/// # Errors
/// What `read` fails with, and `protocol` with the code `PLUGIN:same-page` where a page is the one before it once more: such a peer does not count pages,
/// and its list would never end.
pub fn all(
    plugin: &str,
    list: &str,
    limit: Option<u32>,
    mut read: impl FnMut(u64) -> Result<Page, Error>,
) -> Result<Vec<Value>, Error> {
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut rows: Vec<Value> = Vec::new();
    let mut begin = 0;
    for number in 1_u64.. {
        if rows.len() >= limit {
            break;
        }
        let page = read(number)?;
        if page.rows.is_empty() {
            break;
        }
        if number > 1 && rows.get(begin..) == Some(page.rows.as_slice()) {
            let message = format!("the same page of `{list}` is sent again and again");
            return Err(Error::protocol(message).code(format!("{plugin}:same-page")));
        }
        begin = rows.len();
        rows.extend(page.rows);
        if page.last {
            break;
        }
    }
    rows.truncate(limit);
    Ok(rows)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::types::ErrorKind;

    fn page(from: u64, last: bool) -> Page {
        Page { rows: vec![json!(from), json!(from + 1)], last }
    }

    #[test]
    fn pages_are_read_to_the_last_the_first_empty_one_or_the_limit() {
        let count = |limit, last_at: u64, empty_at: u64| {
            let mut asked = 0;
            let rows = all("p", "list", limit, |number| {
                asked = number;
                if number == empty_at {
                    return Ok(Page { rows: Vec::new(), last: false });
                }
                Ok(page(number * 2, number == last_at))
            });
            (rows.unwrap().len(), asked)
        };
        assert_eq!(count(None, 3, 9), (6, 3));
        assert_eq!(count(None, 9, 3), (4, 3));
        assert_eq!(count(Some(3), 9, 9), (3, 2));
        assert_eq!(count(Some(0), 9, 9), (0, 0));
    }

    #[test]
    fn a_peer_that_does_not_count_pages_is_found_out() {
        let mut asked = 0;
        let error = all("p", "list", None, |_| {
            asked += 1;
            Ok(page(1, false))
        })
        .unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Protocol, Some("p:same-page")));
        assert_eq!(asked, 2);
    }

    #[test]
    fn a_failing_page_ends_the_list_with_its_error() {
        let error = all("p", "list", None, |number| match number {
            1 => Ok(page(1, false)),
            _ => Err(Error::busy("later")),
        });
        assert_eq!(error.unwrap_err().kind, ErrorKind::Busy);
    }
}

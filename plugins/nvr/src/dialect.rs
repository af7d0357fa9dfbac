//! The forms of `ContentMgmt/search` that recorders want (`facts/isapi.md` 7.4), and one page of its answer.

use bascule_sdk::xml::{Element, escape};
use bascule_sdk::{Error, Request};

use crate::device::number;

/// One form of search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Dialect {
    /// `trackIDList` instead of `trackList`.
    pub(crate) id_list: bool,
    /// `searchResultPosition` instead of `searchResultPostion`, which some insist on.
    pub(crate) correct: bool,
    /// With `metadataList`.
    pub(crate) metadata: bool,
    /// `searchID` in braces.
    pub(crate) braces: bool,
}

const fn dialect(id_list: bool, correct: bool, metadata: bool, braces: bool) -> Dialect {
    Dialect { id_list, correct, metadata, braces }
}

/// In the order in which they are tried.
pub(crate) const DIALECTS: &[Dialect] = &[
    // DVR-208G, DS-7616NI-E2 and most others.
    dialect(true, false, true, false),
    // DS-7616NXI.
    dialect(false, false, false, true),
    // Cameras and newer recorders.
    dialect(true, true, true, false),
    dialect(false, true, false, true),
    dialect(true, true, false, false),
    dialect(true, false, false, false),
    // What the recorder's own web page sends.
    dialect(false, false, true, false),
    dialect(false, true, true, false),
];

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) track: u32,
    /// As the recorder writes times.
    pub(crate) begin: &'a str,
    pub(crate) end: &'a str,
    /// A UUID in capital letters.
    pub(crate) id: &'a str,
    pub(crate) position: usize,
    pub(crate) most: u32,
}

impl Dialect {
    /// The request. The order of the elements counts on some recorders.
    pub(crate) fn request(self, question: &Question<'_>) -> Request {
        let list = if self.id_list { "trackIDList" } else { "trackList" };
        let position = if self.correct { "searchResultPosition" } else { "searchResultPostion" };
        let id = if self.braces { format!("{{{}}}", question.id) } else { question.id.to_owned() };
        let metadata = if self.metadata {
            "<metadataList><metadataDescriptor>//recordType.meta.std-cgi.com</metadataDescriptor></metadataList>"
        } else {
            ""
        };
        let body = format!(
            "<CMSearchDescription version=\"1.0\"><searchID>{id}</searchID><{list}><trackID>{}</trackID></{list}>\
             <timeSpanList><timeSpan><startTime>{}</startTime><endTime>{}</endTime></timeSpan></timeSpanList>\
             <maxResults>{}</maxResults><{position}>{}</{position}>{metadata}</CMSearchDescription>",
            question.track,
            escape(question.begin),
            escape(question.end),
            question.most,
            question.position
        );
        Request::post("/ISAPI/ContentMgmt/search").content("application/xml", body)
    }
}

/// A match, as the recorder writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) track: Option<u32>,
    pub(crate) begin: String,
    pub(crate) end: String,
    pub(crate) uri: String,
    pub(crate) codec: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) locked: bool,
}

impl Match {
    /// A parameter of the playback address.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.uri.split_once('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .filter(|v| !v.is_empty())
    }
}

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) matches: Vec<Match>,
    /// The recorder says that there is more.
    pub(crate) more: bool,
}

/// Reads an answer. `numOfMatches` is the page's on some and all on others, so the matches are counted instead.
pub(crate) fn page(root: &Element) -> Result<Page, Error> {
    if !root.name.eq_ignore_ascii_case("CMSearchResult") {
        return Err(Error::protocol(format!("the recorder answered a search with `{}`", root.name)));
    }
    let list = root.child("matchList");
    let items = list.into_iter().flat_map(|list| list.children_named("searchMatchItem"));
    let matches = items.filter_map(one).collect();
    let status = root.text_of("responseStatusStrg").unwrap_or_default();
    Ok(Page { matches, more: status.eq_ignore_ascii_case("MORE") })
}

fn one(item: &Element) -> Option<Match> {
    let span = item.child("timeSpan")?;
    let media = item.child("mediaSegmentDescriptor")?;
    let metadata = item.find("metadataDescriptor").map(|found| found.text.as_str());
    Some(Match {
        track: number(item, "trackID"),
        begin: span.text_of("startTime")?.to_owned(),
        end: span.text_of("endTime")?.to_owned(),
        uri: media.text_of("playbackURI")?.to_owned(),
        codec: media.text_of("codecType").map(str::to_owned),
        reason: metadata
            .and_then(|text| text.rsplit('/').next())
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
        locked: media.text_of("lockStatus").is_some_and(|lock| lock.eq_ignore_ascii_case("lock")),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::{Body, xml};

    use super::*;

    fn text(dialect: Dialect) -> String {
        let question = Question {
            track: 101,
            begin: "2026-01-15T00:00:00Z",
            end: "2026-01-16T00:00:00Z",
            id: "C5A85EF0-0000-4000-8000-000000000001",
            position: 40,
            most: 40,
        };
        match dialect.request(&question).body {
            Body::Content(content) => String::from_utf8(content.data).unwrap(),
            _ => String::new(),
        }
    }

    #[test]
    fn each_dialect_is_spelt_as_its_recorder_wants_it() {
        assert_eq!(
            text(DIALECTS[0]),
            "<CMSearchDescription version=\"1.0\"><searchID>C5A85EF0-0000-4000-8000-000000000001</searchID>\
             <trackIDList><trackID>101</trackID></trackIDList><timeSpanList><timeSpan><startTime>2026-01-15T00:00:00Z</startTime>\
             <endTime>2026-01-16T00:00:00Z</endTime></timeSpan></timeSpanList><maxResults>40</maxResults>\
             <searchResultPostion>40</searchResultPostion><metadataList><metadataDescriptor>//recordType.meta.std-cgi.com\
             </metadataDescriptor></metadataList></CMSearchDescription>"
        );
        let second = text(DIALECTS[1]);
        assert!(
            second.contains("<searchID>{C5A85EF0-")
                && second.contains("<trackList>")
                && !second.contains("metadata")
        );
        assert!(text(DIALECTS[2]).contains("<searchResultPosition>40<"));
        for (place, dialect) in DIALECTS.iter().enumerate() {
            assert!(!DIALECTS[..place].contains(dialect));
        }
    }

    #[test]
    fn an_address_is_unescaped_once_and_read() {
        let body = "<CMSearchResult><responseStatusStrg>OK</responseStatusStrg><numOfMatches>9</numOfMatches><matchList><searchMatchItem>\
            <sourceID>{0000}</sourceID><trackID>101</trackID><timeSpan><startTime>2021-08-18T15:18:15Z</startTime><endTime>2021-08-18T15:20:10Z</endTime></timeSpan>\
            <mediaSegmentDescriptor><contentType>video</contentType><codecType>H.264-BP</codecType>\
            <playbackURI>\nrtsp://192.168.1.64/Streaming/tracks/101/?starttime=20210818T151815Z&amp;endtime=20210818T152010Z&amp;name=00000004667000100&amp;size=1400788 </playbackURI>\
            </mediaSegmentDescriptor><metadataMatches><metadataDescriptor>recordType.meta.hikvision.com/motion</metadataDescriptor></metadataMatches></searchMatchItem></matchList></CMSearchResult>";
        let page = page(&xml::parse(body.as_bytes()).unwrap()).unwrap();
        assert!(!page.more && page.matches.len() == 1);
        let found = &page.matches[0];
        assert_eq!(found.parameter("name"), Some("00000004667000100"));
        assert_eq!(found.parameter("size"), Some("1400788"));
        assert_eq!((found.reason.as_deref(), found.locked), (Some("motion"), false));
        assert!(found.uri.starts_with("rtsp://192.168.1.64/") && found.uri.ends_with("size=1400788"));
    }

    #[test]
    fn all_forms_of_an_empty_result_are_empty() {
        for list in ["", "<matchList/>", "<matchList>\n</matchList>"] {
            let body = format!(
                "<CMSearchResult><responseStatusStrg>NO MATCHES</responseStatusStrg>{list}</CMSearchResult>"
            );
            let page = page(&xml::parse(body.as_bytes()).unwrap()).unwrap();
            assert!(page.matches.is_empty() && !page.more);
        }
    }
}

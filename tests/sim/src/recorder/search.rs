//! `ContentMgmt/search`, as strict as the recorder that is played (`facts/isapi.md 7.4`).

use super::answer::Call;
use super::scan::{self, Node};
use super::{Empty, PositionName, SearchId, Segment, TrackList, WrongPosition};
use crate::ledger::Kind;
use crate::wire::Answer;

pub(super) fn search(call: &Call<'_>) -> Answer {
    let text = String::from_utf8_lossy(&call.request.body);
    match read(call, &text) {
        Ok(wanted) => found(call, &wanted),
        Err((code, why)) => {
            call.note(Kind::SearchRefused, "search", Some(code), why);
            call.error(code)
        }
    }
}

struct Wanted {
    id: String,
    tracks: Vec<u32>,
    start: jiff::Timestamp,
    end: jiff::Timestamp,
    position: usize,
    most: usize,
}

fn read(call: &Call<'_>, text: &str) -> Result<Wanted, (&'static str, &'static str)> {
    let habits = call.habits;
    let (root, declared) = scan::document(text).ok_or(("badXmlFormat", "not well formed"))?;
    let bad = |why| Err(("badXmlContent", why));
    if root.name != "CMSearchDescription" {
        return bad("another root");
    }
    if habits.needs_version && !root.attributes.contains("version=\"1.0\"") {
        return Err(("badXmlFormat", "no version"));
    }
    let extras = declared || root.attributes.contains("xmlns") || root.child("metadataList").is_some();
    if habits.refuse_extras && extras {
        return bad("a declaration, xmlns or metadataList");
    }
    let id = root.at(&["searchID"]).unwrap_or_default();
    let bare = id.strip_prefix('{').and_then(|id| id.strip_suffix('}'));
    let is_uuid = uuid::Uuid::parse_str(bare.unwrap_or(id)).is_ok() && bare.unwrap_or(id).len() == 36;
    let fits = match habits.search_id {
        SearchId::Any => !id.is_empty(),
        SearchId::Guid => is_uuid,
        SearchId::Braces => is_uuid && bare.is_some(),
    };
    if !fits {
        return bad("searchID");
    }
    let list = match habits.track_list {
        TrackList::Either => root.child("trackList").or_else(|| root.child("trackIDList")),
        TrackList::TrackList => root.child("trackList"),
        TrackList::TrackIdList => root.child("trackIDList"),
    };
    let Some(list) = list else { return bad("the list of tracks") };
    let tracks = list.children.iter().filter(|child| child.name == "trackID");
    let tracks = tracks.filter_map(|child| child.text.parse().ok()).collect();
    let span = |name| root.at(&["timeSpanList", "timeSpan", name]).and_then(|text| call.meant(text));
    let (Some(start), Some(end)) = (span("startTime"), span("endTime")) else {
        return bad("timeSpan");
    };
    let most = root.at(&["maxResults"]).and_then(|text| text.parse::<usize>().ok());
    let Some(most) = most.filter(|most| *most > 0) else { return bad("maxResults") };
    Ok(Wanted {
        id: bare.unwrap_or(id).to_ascii_lowercase(),
        tracks,
        start,
        end,
        position: position(call, &root)?,
        most: most.min(habits.max_results.max(1)),
    })
}

fn position(call: &Call<'_>, root: &Node) -> Result<usize, (&'static str, &'static str)> {
    let number = |name| root.at(&[name]).and_then(|text| text.parse().ok());
    let (misspelt, correct) = (number("searchResultPostion"), number("searchResultPosition"));
    let (taken, other) = match call.habits.position_name {
        PositionName::Either => (misspelt.or(correct), None),
        PositionName::Misspelt => (misspelt, correct),
        PositionName::Correct => (correct, misspelt),
    };
    if taken.is_none() && other.is_some() && call.habits.wrong_position == WrongPosition::Rejected {
        return Err(("badXmlContent", "the spelling of the position"));
    }
    Ok(if call.habits.position_ignored { 0 } else { taken.unwrap_or_default() })
}

fn found(call: &Call<'_>, wanted: &Wanted) -> Answer {
    let habits = call.habits;
    let all: Vec<Segment> = wanted
        .tracks
        .iter()
        .flat_map(|track| call.machine.track_segments(habits, *track))
        // Segments reach beyond the span; they are not cut.
        .filter(|segment| segment.end > wanted.start && segment.start < wanted.end)
        .collect();
    let page: Vec<&Segment> = all.iter().skip(wanted.position).take(wanted.most).collect();
    let more = wanted.position + page.len() < all.len();
    let status = match (page.is_empty(), more) {
        (true, _) => "NO MATCHES",
        (false, true) => "MORE",
        (false, false) => "OK",
    };
    let items: String = page.iter().map(|segment| item(call, segment)).collect();
    let list = match (page.is_empty(), habits.empty) {
        (true, Empty::Absent) => String::new(),
        (true, Empty::Empty) => "<matchList/>\r\n".to_owned(),
        (true, Empty::Newline) => "<matchList>\r\n</matchList>\r\n".to_owned(),
        (false, _) => format!("<matchList>\r\n{items}</matchList>\r\n"),
    };
    let count = if habits.counts_all { all.len() } else { page.len() };
    let inner = format!(
        "<searchID>{{{}}}</searchID>\r\n<responseStatus>true</responseStatus>\r\n\
         <responseStatusStrg>{status}</responseStatusStrg>\r\n<numOfMatches>{count}</numOfMatches>\r\n{list}",
        wanted.id
    );
    call.note(
        Kind::SearchDone,
        "search",
        None,
        &format!("{} from {}, {status}", page.len(), wanted.position),
    );
    call.xml(200, "CMSearchResult", &inner)
}

fn item(call: &Call<'_>, segment: &Segment) -> String {
    let (start, end) = (call.told(segment.start), call.told(segment.end));
    let mut uri = format!(
        "rtsp://192.168.254.{}/Streaming/tracks/{}/?starttime={}&amp;endtime={}",
        10 + call.machine.number,
        segment.track,
        call.stamp(segment.start),
        call.stamp(segment.end)
    );
    if call.habits.name_and_size {
        let size = segment.bytes.saturating_add_signed(call.habits.size_told_error);
        uri.push_str(&format!("&amp;name={}&amp;size={size}", segment.name));
    }
    format!(
        "<searchMatchItem>\r\n<sourceID>{{0000000000-0000-0000-0000-000000000000}}</sourceID>\r\n\
         <trackID>{}</trackID>\r\n<timeSpan>\r\n<startTime>{start}</startTime>\r\n<endTime>{end}</endTime>\r\n</timeSpan>\r\n\
         <mediaSegmentDescriptor>\r\n<contentType>video</contentType>\r\n<codecType>H.264-BP</codecType>\r\n\
         <playbackURI>{uri}</playbackURI>\r\n<lockStatus>unlock</lockStatus>\r\n<name>{}</name>\r\n</mediaSegmentDescriptor>\r\n\
         <metadataMatches>\r\n<metadataDescriptor>recordType.meta.hikvision.com/timing</metadataDescriptor>\r\n\
         </metadataMatches>\r\n</searchMatchItem>\r\n",
        segment.track, segment.name
    )
}

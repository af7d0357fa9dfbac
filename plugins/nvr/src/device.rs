//! What a recorder is and has (`facts/isapi.md` 2, 7.1 to 7.3, 7.7).

use std::collections::BTreeMap;

use bascule_sdk::xml::{Element, escape};
use bascule_sdk::{Error, Peer, Request};

use crate::bindings::exports::bascule::nvr::device::{Channel, Condition, Description, Disk, Source};
use crate::bindings::exports::bascule::nvr::recordings::Track;
use crate::reply;

pub(crate) fn info(recorder: &dyn Peer) -> Result<Description, Error> {
    let root = reply::ask(recorder, Request::get("/ISAPI/System/deviceInfo"))?;
    let text = |name: &str| root.text_of(name).map(str::to_owned);
    let (Some(model), Some(serial)) = (text("model"), text("serialNumber")) else {
        return Err(Error::protocol("the recorder's deviceInfo has no model and serial number"));
    };
    Ok(Description {
        name: text("deviceName"),
        model,
        serial,
        firmware: text("firmwareVersion"),
        device_type: text("deviceType"),
        mac: text("macAddress"),
    })
}

pub(crate) fn status(recorder: &dyn Peer) -> Result<Condition, Error> {
    let root = reply::ask(recorder, Request::get("/ISAPI/System/status"))?;
    let cpu = root.child("CPUList").into_iter().flat_map(|list| list.children_named("CPU"));
    let memory = root.find("Memory");
    let of_memory = |name: &str| memory.and_then(|memory| memory.text_of(name)).map(str::to_owned);
    Ok(Condition {
        time: root.text_of("currentDeviceTime").map(str::to_owned),
        up_seconds: number(&root, "deviceUpTime"),
        cpu: cpu.filter_map(|cpu| number(cpu, "cpuUtilization")).collect(),
        memory_used: of_memory("memoryUsage"),
        memory_available: of_memory("memoryAvailable"),
    })
}

pub(crate) fn storage(recorder: &dyn Peer) -> Result<Vec<Disk>, Error> {
    let root = reply::ask(recorder, Request::get("/ISAPI/ContentMgmt/Storage"))?;
    let list = |list: &str, item: &'static str, network: bool| {
        let items = root.child(list).into_iter().flat_map(move |list| list.children_named(item));
        items.map(move |item| disk(item, network)).collect::<Vec<Disk>>()
    };
    let mut disks = list("hddList", "hdd", false);
    disks.extend(list("nasList", "nas", true));
    Ok(disks)
}

fn disk(item: &Element, network: bool) -> Disk {
    let text = |name: &str| item.text_of(name).map(str::to_owned);
    Disk {
        id: text("id").unwrap_or_default(),
        name: text(if network { "path" } else { "hddName" }),
        kind: text(if network { "nasType" } else { "hddType" }),
        status: text("status"),
        capacity_mb: number(item, "capacity").unwrap_or(0),
        free_mb: number(item, "freeSpace").unwrap_or(0),
        access: text("property"),
        network,
    }
}

pub(crate) fn channels(recorder: &dyn Peer) -> Result<Vec<Channel>, Error> {
    let proxies = reply::ask_if_known(recorder, Request::get("/ISAPI/ContentMgmt/InputProxy/channels"))?;
    let inputs = reply::ask_if_known(recorder, Request::get("/ISAPI/System/Video/inputs/channels"))?;
    if proxies.is_none() && inputs.is_none() {
        return Err(Error::unsupported("this recorder has neither network channels nor analog inputs"));
    }
    let mut channels = BTreeMap::new();
    for item in inputs.iter().flat_map(|root| root.children_named("VideoInputChannel")) {
        let Some(id) = number::<u32>(item, "id") else { continue };
        let state = item.text_of("resDesc").map(str::to_owned);
        channels.insert(
            id,
            Channel {
                id,
                name: item.text_of("name").map(str::to_owned),
                source: Source::Analog,
                online: state.as_ref().map(|state| !state.eq_ignore_ascii_case("NO VIDEO")),
                state,
                address: None,
                model: None,
            },
        );
    }
    // The list's `size` is not the number of its items, and is not looked at.
    for item in proxies.iter().flat_map(|root| root.children_named("InputProxyChannel")) {
        let Some(id) = number::<u32>(item, "id") else { continue };
        let of_source = |name: &str| {
            let source = item.child("sourceInputPortDescriptor");
            source.and_then(|source| source.text_of(name)).map(str::to_owned)
        };
        channels.insert(
            id,
            Channel {
                id,
                name: item.text_of("name").map(str::to_owned),
                source: Source::Network,
                online: None,
                state: None,
                address: of_source("ipAddress"),
                model: of_source("model"),
            },
        );
    }
    if proxies.is_some() {
        let request = Request::get("/ISAPI/ContentMgmt/InputProxy/channels/status");
        let status = reply::ask_if_known(recorder, request)?;
        for item in status.iter().flat_map(|root| root.children_named("InputProxyChannelStatus")) {
            if let Some(channel) = number::<u32>(item, "id").and_then(|id| channels.get_mut(&id)) {
                channel.online = item.text_of("online").map(|online| online.eq_ignore_ascii_case("true"));
                channel.state = item.text_of("chanDetectResult").map(str::to_owned);
            }
        }
    }
    Ok(channels.into_values().collect())
}

pub(crate) fn tracks(recorder: &dyn Peer) -> Result<Vec<Track>, Error> {
    let list = reply::ask_if_known(recorder, Request::get("/ISAPI/ContentMgmt/record/tracks"))?;
    let mut tracks: Vec<Track> = Vec::new();
    for item in list.iter().flat_map(|root| root.children_named("Track")) {
        // `Channel` repeats the track, and `Enable` may be false while it records: neither is looked at.
        let Some(id) = number::<u32>(item, "id") else { continue };
        tracks.push(Track {
            id,
            channel: id / 100,
            description: item.text_of("Description").map(str::to_owned),
        });
    }
    if tracks.is_empty() {
        let main =
            |channel: Channel| Track { id: channel.id * 100 + 1, channel: channel.id, description: None };
        tracks = channels(recorder)?.into_iter().map(main).collect();
    }
    Ok(tracks)
}

pub(crate) fn days(recorder: &dyn Peer, track: u32, year: u16, month: u8) -> Result<Vec<String>, Error> {
    if !(1..=12).contains(&month) {
        return Err(Error::invalid_input(format!("there is no month {month}")));
    }
    let body = format!(
        "<trackDailyParam><year>{}</year><monthOfYear>{}</monthOfYear></trackDailyParam>",
        escape(&year.to_string()),
        escape(&month.to_string())
    );
    let path = format!("/ISAPI/ContentMgmt/record/tracks/{track}/dailyDistribution");
    let root = reply::ask(recorder, Request::post(path).xml(body))?;
    let days = root.child("dayList").into_iter().flat_map(|list| list.children_named("day"));
    let recorded =
        days.filter(|day| day.text_of("record").is_some_and(|record| record.eq_ignore_ascii_case("true")));
    let day =
        |day: &Element| number::<u8>(day, "dayOfMonth").map(|day| format!("{year:04}-{month:02}-{day:02}"));
    Ok(recorded.filter_map(day).collect())
}

pub(crate) fn number<T: std::str::FromStr>(element: &Element, name: &str) -> Option<T> {
    element.text_of(name)?.trim().parse().ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const PROXIES: &str = "GET /ISAPI/ContentMgmt/InputProxy/channels";
    const STATUS: &str = "GET /ISAPI/ContentMgmt/InputProxy/channels/status";
    const INPUTS: &str = "GET /ISAPI/System/Video/inputs/channels";
    const NOT_SUPPORT: &str = "<ResponseStatus version=\"2.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\"><requestURL></requestURL>\
        <statusCode>4</statusCode><statusString>Invalid Operation</statusString><subStatusCode>notSupport</subStatusCode></ResponseStatus>";

    #[test]
    fn a_network_recorder_has_the_channels_of_its_list_whatever_size_says() {
        let list = "<InputProxyChannelList version=\"1.0\" size=\"7\" xmlns=\"http://www.hikvision.com/ver20/XMLSchema\">\
            <InputProxyChannel version=\"1.0\" xmlns=\"http://www.hikvision.com/ver20/XMLSchema\"><id>2</id><name>Yard &amp; gate</name>\
            <sourceInputPortDescriptor><proxyProtocol>HIKVISION</proxyProtocol><ipAddress>192.168.254.3</ipAddress></sourceInputPortDescriptor>\
            </InputProxyChannel><InputProxyChannel><id>1</id></InputProxyChannel></InputProxyChannelList>";
        let state = "<InputProxyChannelStatusList><InputProxyChannelStatus><id>1</id><online>false</online>\
            <chanDetectResult>errorUserNameOrPasswd</chanDetectResult></InputProxyChannelStatus></InputProxyChannelStatusList>";
        let script = Script::new()
            .then(PROXIES, answer(200, list))
            .then(INPUTS, answer(403, NOT_SUPPORT))
            .then(STATUS, answer(200, state));
        let found = channels(&script).unwrap();
        script.finish();
        assert_eq!(found.iter().map(|channel| channel.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((found[0].name.as_deref(), found[0].online), (None, Some(false)));
        assert_eq!(found[1].name.as_deref(), Some("Yard & gate"));
        assert_eq!(found[1].address.as_deref(), Some("192.168.254.3"));
    }

    #[test]
    fn a_hybrid_has_both_kinds_and_a_camera_only_its_input() {
        let input = "<VideoInputChannelList><VideoInputChannel><id>1</id><name>A1</name><resDesc>NO VIDEO</resDesc></VideoInputChannel></VideoInputChannelList>";
        let script = Script::new()
            .then(PROXIES, answer(200, "<InputProxyChannelList size=\"2\"/>"))
            .then(INPUTS, answer(200, input))
            .then(STATUS, answer(404, "<html>Access Error: 404 -- Not Found</html>"));
        let found = channels(&script).unwrap();
        assert_eq!((found.len(), found[0].source, found[0].online), (1, Source::Analog, Some(false)));
        let script = Script::new().then(PROXIES, answer(403, NOT_SUPPORT)).then(INPUTS, answer(200, input));
        assert_eq!(channels(&script).unwrap().len(), 1);
        let script = Script::new().then(PROXIES, answer(403, "")).then(INPUTS, answer(404, ""));
        assert_eq!(channels(&script).unwrap_err().kind, ErrorKind::Unsupported);
    }

    #[test]
    fn a_missing_permission_is_not_taken_for_a_missing_list() {
        let low = NOT_SUPPORT.replace("notSupport", "lowPrivilege");
        let error = channels(&Script::new().then(PROXIES, answer(403, low))).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused);
    }

    #[test]
    fn sizes_of_disks_are_megabytes_and_no_free_space_is_no_error() {
        let body = "<storage><hddList size=\"1\"><hdd><id>1</id><hddName>hdde</hddName><hddType>SATA</hddType><status>ok</status>\
            <capacity>7630885</capacity><freeSpace>0</freeSpace><property>RW</property></hdd></hddList><nasList><nas><id>9</id>\
            <nasType>NFS</nasType><path>/volume1/nvr</path><status>offline</status><capacity>0</capacity><freeSpace>0</freeSpace></nas></nasList></storage>";
        let script = Script::new().then("GET /ISAPI/ContentMgmt/Storage", answer(200, body));
        let disks = storage(&script).unwrap();
        assert_eq!((disks[0].capacity_mb, disks[0].free_mb, disks[0].network), (7_630_885, 0, false));
        assert_eq!((disks[1].name.as_deref(), disks[1].network), (Some("/volume1/nvr"), true));
    }

    #[test]
    fn tracks_come_from_the_list_or_from_the_channels() {
        let list = "<TrackList><Track><id>101</id><Channel>101</Channel><Enable>false</Enable></Track><Track><id>3201</id><Channel>3201</Channel></Track></TrackList>";
        let script = Script::new().then("GET /ISAPI/ContentMgmt/record/tracks", answer(200, list));
        let found = tracks(&script).unwrap();
        assert_eq!(
            found.iter().map(|track| (track.id, track.channel)).collect::<Vec<_>>(),
            [(101, 1), (3201, 32)]
        );
        let script = Script::new()
            .then("GET /ISAPI/ContentMgmt/record/tracks", answer(403, NOT_SUPPORT))
            .then(PROXIES, answer(200, "<InputProxyChannelList><InputProxyChannel><id>4</id></InputProxyChannel></InputProxyChannelList>"))
            .then(INPUTS, answer(403, NOT_SUPPORT))
            .then(STATUS, answer(403, NOT_SUPPORT));
        assert_eq!(tracks(&script).unwrap()[0].id, 401);
    }

    #[test]
    fn days_with_recordings_are_dates() {
        let body = "<trackDailyDistribution><dayList><day><id>1</id><dayOfMonth>1</dayOfMonth><record>false</record></day>\
            <day><id>2</id><dayOfMonth>2</dayOfMonth><record>true</record><recordType>time</recordType></day></dayList></trackDailyDistribution>";
        let script = Script::new()
            .then("POST /ISAPI/ContentMgmt/record/tracks/101/dailyDistribution", answer(200, body));
        assert_eq!(days(&script, 101, 2026, 2).unwrap(), ["2026-02-02"]);
        assert_eq!(
            script.body(0),
            "<trackDailyParam><year>2026</year><monthOfYear>2</monthOfYear></trackDailyParam>"
        );
    }
}

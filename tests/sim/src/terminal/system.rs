//! Who the terminal is, how it is, and what time it believes it is (`facts/isapi.md 2`).

use jiff::{SignedDuration, Timestamp, civil};
use serde_json::json;

use super::answer::{Call, escaped};
use crate::quirks::Quirks;
use crate::wire::{Answer, Request};

pub(super) fn device_info(call: &Call<'_>) -> Answer {
    let number = call.device.number;
    let (model, name) = ("DS-K1T342MFWX-E1", escaped(&call.device.name));
    let serial = format!("{model}20240112V031601EN{:09}", 100_000_000 + number);
    let mac = format!("ac:b9:2f:00:{:02x}:{:02x}", (number >> 8) & 0xff, number & 0xff);
    let id = uuid::Uuid::from_u128(0x5a17_0000_0000_4000_8000_0000_0000_0000 | number as u128);
    if call.wants_json() && call.quirks.device_info_json {
        return call.json(
            200,
            &json!({ "DeviceInfo": {
                "deviceName": call.device.name, "deviceID": id.to_string(), "model": model, "serialNumber": serial,
                "macAddress": mac, "firmwareVersion": "V3.16.1", "firmwareReleasedDate": "build 240112", "deviceType": "ACS",
            } }),
        );
    }
    let inner = format!(
        "<deviceName>{name}</deviceName>\n<deviceID>{id}</deviceID>\n<model>{model}</model>\n\
         <serialNumber>{serial}</serialNumber>\n<macAddress>{mac}</macAddress>\n\
         <firmwareVersion>V3.16.1</firmwareVersion>\n<firmwareReleasedDate>build 240112</firmwareReleasedDate>\n\
         <deviceType>ACS</deviceType>\n<subDeviceType>accessControlTerminal</subDeviceType>\n\
         <telecontrolID>255</telecontrolID>\n<alarmOutNum>1</alarmOutNum>\n<alarmInNum>2</alarmInNum>\n\
         <RS485Num>1</RS485Num>\n<bspVersion>V1.0</bspVersion>\n<dspVersion>V1.0</dspVersion>\n\
         <releaseRegion>other</releaseRegion>\n"
    );
    call.xml(200, "DeviceInfo", &inner)
}

pub(super) fn status(call: &Call<'_>) -> Answer {
    let inner = format!(
        "<currentDeviceTime>{}{}</currentDeviceTime>\n<deviceUpTime>86400</deviceUpTime>\n\
         <CPUList>\n<CPU>\n<cpuDescription>0</cpuDescription>\n<cpuUtilization>12</cpuUtilization>\n</CPU>\n</CPUList>\n\
         <MemoryList>\n<Memory>\n<memoryDescription>0</memoryDescription>\n<memoryUsage>67</memoryUsage>\n\
         <memoryAvailable>48896</memoryAvailable>\n</Memory>\n</MemoryList>\n",
        local(call.quirks).strftime("%Y-%m-%dT%H:%M:%S"),
        offset(call.quirks)
    );
    call.xml(200, "DeviceStatus", &inner)
}

pub(super) fn time(call: &Call<'_>) -> Answer {
    let now = format!("{}{}", local(call.quirks).strftime("%Y-%m-%dT%H:%M:%S"), offset(call.quirks));
    let minutes = call.quirks.utc_offset_minutes;
    // POSIX writes zones with the sign turned round; the label is always CST.
    let sign = if minutes > 0 { '-' } else { '+' };
    let zone = format!("CST{sign}{}:{:02}:00", minutes.abs() / 60, minutes.abs() % 60);
    let (mode, zone) = {
        let extras = call.device.extras();
        (extras.time_mode.clone(), extras.time_zone.clone().unwrap_or(zone))
    };
    if call.wants_json() && call.quirks.device_info_json {
        return call.json(200, &json!({ "Time": { "timeMode": mode, "localTime": now, "timeZone": zone } }));
    }
    let inner =
        format!("<timeMode>{mode}</timeMode>\n<localTime>{now}</localTime>\n<timeZone>{zone}</timeZone>\n");
    call.xml(200, "Time", &inner)
}

pub(super) fn user_check(call: &Call<'_>) -> Answer {
    let inner = "<statusValue>200</statusValue>\n<statusString>OK</statusString>\n\
                 <isDefaultPassword>false</isDefaultPassword>\n<isRiskPassword>false</isRiskPassword>\n\
                 <isActivated>true</isActivated>\n<lockStatus>unlock</lockStatus>\n";
    call.xml(200, "userCheck", inner)
}

/// The headers of the device's web server: a `Date` in local time that says GMT, and how long it keeps the connection.
pub(super) fn sign(quirks: &Quirks, request: &Request, answer: &mut Answer) {
    let date = local(quirks).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    answer.headers.insert(0, ("Date".to_owned(), date));
    answer.headers.insert(1, ("Server".to_owned(), "webserver".to_owned()));
    answer.headers.push(("X-Frame-Options".to_owned(), "SAMEORIGIN".to_owned()));
    let left = quirks.keep_alive_requests.saturating_sub(request.nth);
    if left == 0 {
        answer.delivery.close = true;
    } else {
        let text = format!("timeout={}, max={left}", quirks.keep_alive_ms / 1_000);
        answer.headers.push(("Keep-Alive".to_owned(), text));
    }
}

/// What the device's wall clock shows.
fn local(quirks: &Quirks) -> civil::DateTime {
    let shift = quirks.clock_offset_s.saturating_add(i64::from(quirks.utc_offset_minutes) * 60);
    let now = Timestamp::now().checked_add(SignedDuration::from_secs(shift)).unwrap_or(Timestamp::UNIX_EPOCH);
    now.to_zoned(jiff::tz::TimeZone::UTC).datetime()
}

fn offset(quirks: &Quirks) -> String {
    let minutes = quirks.utc_offset_minutes;
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

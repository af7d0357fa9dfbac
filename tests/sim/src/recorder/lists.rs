//! Who the recorder is and what it has (`facts/isapi.md 2, 7.1 to 7.3, 7.7`).

use std::collections::BTreeSet;

use super::Inputs;
use super::answer::Call;
use super::scan;
use crate::wire::Answer;

pub(super) fn device_info(call: &Call<'_>) -> Answer {
    let number = call.machine.number;
    let model = "DS-7608NXI-I2/8P/S";
    let inner = format!(
        "<deviceName>{}</deviceName>\n<deviceID>48443030-3031-3032-3033-{number:012}</deviceID>\n<model>{model}</model>\n\
         <serialNumber>{model}0820210811CCRRG{:08}WCVU</serialNumber>\n\
         <macAddress>24:0f:9b:00:{:02x}:{:02x}</macAddress>\n<firmwareVersion>V4.62.210</firmwareVersion>\n\
         <firmwareReleasedDate>build 220730</firmwareReleasedDate>\n<encoderVersion>V5.0</encoderVersion>\n\
         <encoderReleasedDate>build 210719</encoderReleasedDate>\n<deviceType>NVR</deviceType>\n\
         <telecontrolID>255</telecontrolID>\n<hardwareVersion>0x0</hardwareVersion>\n",
        call.machine.name,
        10_000_000 + number,
        (number >> 8) & 0xff,
        number & 0xff
    );
    call.xml(200, "DeviceInfo", &inner)
}

pub(super) fn status(call: &Call<'_>) -> Answer {
    let now = call.local(call.machine.clock(call.habits)).strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let inner = format!(
        "<currentDeviceTime>{now}{}</currentDeviceTime>\n<deviceUpTime>864000</deviceUpTime>\n\
         <CPUList>\n<CPU>\n<cpuDescription>NVR</cpuDescription>\n<cpuUtilization>23</cpuUtilization>\n</CPU>\n</CPUList>\n\
         <MemoryList>\n<Memory>\n<memoryDescription>DDR</memoryDescription>\n<memoryUsage>1021</memoryUsage>\n\
         <memoryAvailable>846</memoryAvailable>\n</Memory>\n</MemoryList>\n",
        call.offset()
    );
    call.xml(200, "DeviceStatus", &inner)
}

pub(super) fn time(call: &Call<'_>) -> Answer {
    let now = call.local(call.machine.clock(call.habits)).strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let minutes = call.habits.utc_offset_minutes;
    // POSIX writes zones with the sign turned round; the label is always CST.
    let sign = if minutes > 0 { '-' } else { '+' };
    let inner = format!(
        "<timeMode>NTP</timeMode>\n<localTime>{now}{}</localTime>\n<timeZone>CST{sign}{}:{:02}:00</timeZone>\n",
        call.offset(),
        minutes.abs() / 60,
        minutes.abs() % 60
    );
    call.xml(200, "Time", &inner)
}

pub(super) fn inputs(call: &Call<'_>) -> Answer {
    if call.habits.inputs == Inputs::Forbidden {
        return call.error("notSupport");
    }
    let id = call.habits.channels + 1;
    call.xml(
        200,
        "VideoInputChannelList",
        &format!(
            "<VideoInputChannel>\n<id>{id}</id>\n<inputPort>1</inputPort>\n<videoInputEnabled>true</videoInputEnabled>\n\
             <name>Analog 1</name>\n<videoFormat>PAL</videoFormat>\n<resDesc>NO VIDEO</resDesc>\n</VideoInputChannel>\n"
        ),
    )
}

pub(super) fn proxies(call: &Call<'_>) -> Answer {
    let count = call.habits.channels;
    let size = i64::from(count) + i64::from(call.habits.size_error);
    let mut inner = String::new();
    for id in 1..=count {
        // The second has no name, as on some recorders.
        let name = if id == 2 { String::new() } else { format!("<name>Camera {id:02} &amp; yard</name>\n") };
        inner.push_str(&format!(
            "<InputProxyChannel version=\"2.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\">\n<id>{id}</id>\n{name}\
             <sourceInputPortDescriptor>\n<proxyProtocol>HIKVISION</proxyProtocol>\n\
             <addressingFormatType>ipaddress</addressingFormatType>\n<ipAddress>192.168.254.{}</ipAddress>\n\
             <managePortNo>8000</managePortNo>\n<srcInputPort>1</srcInputPort>\n<userName>admin</userName>\n\
             <connMode>plugplay</connMode>\n<streamType>auto</streamType>\n<model>DS-2CD2386G2-IU</model>\n\
             </sourceInputPortDescriptor>\n<enableAnr>false</enableAnr>\n</InputProxyChannel>\n",
            id + 1
        ));
    }
    let mut answer = call.xml(200, "InputProxyChannelList", &inner);
    let body = String::from_utf8_lossy(&answer.body);
    answer.body = body
        .replacen("<InputProxyChannelList ", &format!("<InputProxyChannelList size=\"{size}\" "), 1)
        .into_bytes()
        .into();
    answer
}

pub(super) fn proxy_status(call: &Call<'_>) -> Answer {
    let mut inner = String::new();
    for id in 1..=call.habits.channels {
        inner.push_str(&format!(
            "<InputProxyChannelStatus>\n<id>{id}</id>\n<online>true</online>\n<streamingProxyChannelIdList>\n\
             <streamingProxyChannelId>{id}01</streamingProxyChannelId>\n<streamingProxyChannelId>{id}02</streamingProxyChannelId>\n\
             </streamingProxyChannelIdList>\n<chanDetectResult>connect</chanDetectResult>\n</InputProxyChannelStatus>\n"
        ));
    }
    call.xml(200, "InputProxyChannelStatusList", &inner)
}

pub(super) fn streams(call: &Call<'_>) -> Answer {
    let mut inner = String::new();
    for id in 1..=call.habits.channels {
        for stream in 1..=2 {
            inner.push_str(&format!(
                "<StreamingChannel>\n<id>{id}{stream:02}</id>\n<channelName>Camera {id:02}</channelName>\n\
                 <enabled>true</enabled>\n</StreamingChannel>\n"
            ));
        }
    }
    call.xml(200, "StreamingChannelList", &inner)
}

pub(super) fn tracks(call: &Call<'_>) -> Answer {
    let mut inner = String::new();
    for id in 1..=call.habits.channels {
        // `Channel` repeats the track, and `Enable` is false although it records.
        inner.push_str(&format!(
            "<Track>\n<id>{id}01</id>\n<Channel>{id}01</Channel>\n<Enable>false</Enable>\n\
             <Description>trackType=standard,contentType=video,codecType=H.264-BP,resolution=3840*2160</Description>\n</Track>\n"
        ));
    }
    call.xml(200, "TrackList", &inner)
}

pub(super) fn days(call: &Call<'_>, track: &str) -> Answer {
    let text = String::from_utf8_lossy(&call.request.body);
    let read = scan::document(&text).map(|(root, _)| root).filter(|root| root.name == "trackDailyParam");
    let number = |name| read.as_ref().and_then(|root| root.at(&[name])?.parse::<i16>().ok());
    let (Some(year), Some(month)) = (number("year"), number("monthOfYear")) else {
        return call.error("badXmlContent");
    };
    let track = track.parse().unwrap_or_default();
    let recorded: BTreeSet<i8> = call
        .machine
        .track_segments(call.habits, track)
        .iter()
        .flat_map(|segment| [call.local(segment.start), call.local(segment.end)])
        .filter(|time| time.year() == year && i16::from(time.month()) == month)
        .map(|time| time.day())
        .collect();
    let mut inner = String::from("<dayList>\n");
    for day in 1..=31 {
        inner.push_str(&format!(
            "<day>\n<id>{day}</id>\n<dayOfMonth>{day}</dayOfMonth>\n<record>{}</record>\n</day>\n",
            recorded.contains(&day)
        ));
    }
    inner.push_str("</dayList>\n");
    call.xml(200, "trackDailyDistribution", &inner)
}

/// Sizes are in MB.
pub(super) fn storage(call: &Call<'_>) -> Answer {
    let free = if call.habits.full { 0 } else { 215_040 };
    call.xml(
        200,
        "storage",
        &format!(
            "<hddList size=\"2\">\n<hdd>\n<id>1</id>\n<hddName>hdd1</hddName>\n<hddPath></hddPath>\n<hddType>SATA</hddType>\n\
             <status>ok</status>\n<capacity>1907729</capacity>\n<freeSpace>{free}</freeSpace>\n<property>RW</property>\n</hdd>\n\
             </hddList>\n<nasList>\n<nas>\n<id>9</id>\n<addressingFormatType>ipaddress</addressingFormatType>\n\
             <ipAddress>192.168.254.99</ipAddress>\n<nasType>NFS</nasType>\n<path>/volume1/nvr</path>\n<status>offline</status>\n\
             <capacity>0</capacity>\n<freeSpace>0</freeSpace>\n<property>RW</property>\n</nas>\n</nasList>\n\
             <workMode opt=\"group,quota\">quota</workMode>\n"
        ),
    )
}

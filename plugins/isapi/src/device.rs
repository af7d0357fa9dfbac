//! What a terminal says about itself.

use bascule_sdk::{Error, Peer, Request, json};
use serde_json::Value;

use crate::bindings::exports::bascule::isapi::device::Description;
use crate::reply::{self, Document};

pub(crate) fn info(terminal: &dyn Peer) -> Result<Description, Error> {
    let request = Request::get("/ISAPI/System/deviceInfo");
    let line = request.line();
    let document = reply::accept(&terminal.send(request)?, &line)?;
    description(&document)
        .ok_or_else(|| reply::unexpected(&line, "a deviceInfo with model and serial number"))
}

/// Reads `DeviceInfo` as XML, or as JSON with or without that wrapper (`facts/isapi.md` 2.2).
fn description(document: &Document) -> Option<Description> {
    let read = |name: &str| -> Option<String> {
        match document {
            Document::Xml(root) => root.find("DeviceInfo")?.text_of(name).map(str::to_owned),
            Document::Json(value) => {
                let info: &Value = json::field(value, "DeviceInfo").unwrap_or(value);
                json::field(info, name).and_then(json::as_text).filter(|text| !text.is_empty())
            }
            Document::Empty => None,
        }
    };
    Some(Description {
        name: read("deviceName"),
        model: read("model")?,
        serial: read("serialNumber")?,
        firmware: read("firmwareVersion"),
        firmware_released: read("firmwareReleasedDate"),
        device_type: read("deviceType"),
        mac: read("macAddress"),
        device_id: read("deviceID"),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const LINE: &str = "GET /ISAPI/System/deviceInfo";

    fn ask(status: u16, body: &str) -> Result<Description, Error> {
        info(&Script::new().then(LINE, answer(status, body)))
    }

    #[test]
    fn a_terminal_describes_itself_in_xml() {
        let info = ask(
            200,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<DeviceInfo version=\"2.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\">\r\n\
             <deviceName>Access Controller</deviceName><deviceID>255</deviceID><model>DS-K1T342MFWX-E1</model>\
             <serialNumber>DS-K1T342MFWX-E120240112V031601EN000000001</serialNumber><macAddress>ac:b9:2f:00:00:01</macAddress>\
             <firmwareVersion>V3.16.1</firmwareVersion><firmwareReleasedDate>build 240112</firmwareReleasedDate>\
             <deviceType>ACS</deviceType></DeviceInfo>",
        )
        .unwrap();
        assert_eq!(info.name.as_deref(), Some("Access Controller"));
        assert_eq!(info.model, "DS-K1T342MFWX-E1");
        assert_eq!(info.serial, "DS-K1T342MFWX-E120240112V031601EN000000001");
        assert_eq!(info.firmware.as_deref(), Some("V3.16.1"));
        assert_eq!(info.firmware_released.as_deref(), Some("build 240112"));
        assert_eq!(info.device_type.as_deref(), Some("ACS"));
        assert_eq!(info.mac.as_deref(), Some("ac:b9:2f:00:00:01"));
    }

    #[test]
    fn the_namespace_does_not_matter_and_json_is_read_too() {
        for body in [
            "<DeviceInfo version=\"1.0\" xmlns=\"http://www.hikvision.com/ver20/XMLSchema\"><model>M</model><serialNumber>S</serialNumber></DeviceInfo>",
            "<DeviceInfo><model>M</model><serialNumber>S</serialNumber></DeviceInfo>",
            r#"{"DeviceInfo":{"model":"M","serialNumber":"S","deviceID":255}}"#,
            r#"{"model":"M","serialNumber":"S"}"#,
        ] {
            let info = ask(200, body).unwrap();
            assert_eq!((info.model.as_str(), info.serial.as_str()), ("M", "S"), "{body}");
        }
    }

    #[test]
    fn an_answer_that_is_no_device_info_is_a_protocol_error() {
        let error = ask(200, "<hello/>").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Protocol);
        let error = ask(200, "\u{FFD8}").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Protocol);
    }

    #[test]
    fn an_html_page_for_an_unknown_path_means_unsupported() {
        let page = "<!DOCTYPE html><html><head><title>Document Error: Not Found</title></head><body><h2>Access Error: 404 -- Not Found</h2></body></html>";
        let error = ask(404, page).unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Unsupported, Some("isapi:http-404")));
    }
}

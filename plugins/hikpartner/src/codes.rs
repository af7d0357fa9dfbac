//! The platform's error codes in words (`facts/hikcentral_hikpartner_supabase.md` B5).

use std::time::Duration;

use bascule_sdk::{Effect, ErrorKind};

use ErrorKind::{
    Busy, Conflict, InvalidInput, NotFound, Offline, Protocol, Refused, Timeout, Unauthorized, Unsupported,
};

/// What a code means.
#[derive(Debug)]
pub(crate) struct Meaning {
    pub(crate) kind: ErrorKind,
    pub(crate) words: &'static str,
    /// What a write may have done when it ended with this code.
    pub(crate) effect: Effect,
    /// When to come again. The platform publishes no numbers; these are ours.
    pub(crate) retry_after: Option<Duration>,
}

/// `EVZ20007`, `LAP500004`, `0x01400006`: however it is written.
pub(crate) fn normal(code: &str) -> String {
    let code = code.trim();
    if let Some(digits) = code.strip_prefix("0x").or_else(|| code.strip_prefix("0X"))
        && let Ok(number) = u32::from_str_radix(digits, 16)
    {
        return format!("0x{number:08x}");
    }
    let plain: String = code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect();
    plain.to_ascii_uppercase()
}

/// The code inside the platform's wrapping of another error: `add Exception{LAP006001}`.
pub(crate) fn wrapped(text: &str) -> Option<String> {
    let inner = text.split_once('{')?.1.split_once('}')?.0;
    let code = normal(inner);
    (!code.is_empty()).then_some(code)
}

/// Looks a code up; one that no table knows is `refused`.
pub(crate) fn meaning(code: &str) -> Meaning {
    let (kind, words) = match code {
        "LAP000000" => (Busy, "the platform reports a fault of its own"),
        "LAP000001" => (InvalidInput, "the platform does not accept a parameter"),
        "LAP000002" | "LAP000003" => (NotFound, "the platform has no such thing"),
        "LAP300001" => (Unauthorized, "the platform does not know the app key"),
        "LAP300002" => (Unauthorized, "app key and secret key do not belong together"),
        "LAP300003" => (Unauthorized, "the account of the app key is missing"),
        "LAP500001" => (Busy, "the platform's gateway is not available"),
        "LAP500002" => (Unauthorized, "the platform saw no token"),
        "LAP500003" => (Unauthorized, "the token has the wrong form"),
        "LAP500004" => (Unauthorized, "the token has expired, the one that was fetched anew too"),
        "LAP500005" => (Unauthorized, "the platform does not accept the token"),
        "LAP500007" => (Busy, "the platform's call limit is reached"),
        "LAP006001" => (Refused, "adding the device failed"),
        "LAP006009" => (Refused, "there is no such device, or no permission for it"),
        "LAP008000" => (Conflict, "there is a site of that name already"),
        "LAP008001" => (NotFound, "there is no such site"),
        "LAP020011" => (Offline, "the device is offline"),
        "LAP030069" => (Busy, "the device is being synchronised already"),
        "LAP031002" | "LAP031007" | "LAP031008" => (InvalidInput, "the platform does not accept the picture"),
        "LAP068001" => (Busy, "somebody else is reading the message queue, which has one reader"),
        _ => return other(code),
    };
    with_effect(code, kind, words)
}

fn other(code: &str) -> Meaning {
    let (kind, words) = match code {
        "EVZ10001" => (InvalidInput, "the platform does not accept a parameter"),
        "EVZ10006" => (Refused, "the platform does not take calls from this address"),
        "EVZ10007" => (Busy, "the platform's call limit is reached"),
        "EVZ10029" => (Busy, "calls come too often"),
        "EVZ20002" => (NotFound, "there is no such device"),
        "EVZ20006" => (Offline, "the network between platform and device failed"),
        "EVZ20007" => (Offline, "the device is offline"),
        "EVZ20008" => (Timeout, "the device did not answer the platform in time"),
        "EVZ20010" => (InvalidInput, "the verification code is wrong"),
        "EVZ20012" => (Refused, "adding the device failed"),
        "EVZ20013" => (Conflict, "the device belongs to another account"),
        "EVZ20014" => (InvalidInput, "the serial number is wrong"),
        "EVZ20015" => (Unsupported, "the device cannot do it"),
        "EVZ20017" => (Conflict, "the device is in this account already"),
        "EVZ20018" => (Refused, "the device is not linked to this account"),
        "EVZ49999" => (Busy, "the platform reports a fault of its own"),
        "EVZ50000" => (Busy, "the platform's service failed"),
        "0x01400003" => (Refused, "the device's certificate does not match"),
        "0x01400004" => (Refused, "the device is not activated"),
        "0x01400006" => (Refused, "the device bans the platform's address"),
        _ if code.starts_with("0x") => (Refused, "the device refused, with a code of its own"),
        _ if code.is_empty() => (Protocol, "the platform gave no code"),
        _ => (Refused, "the platform refused"),
    };
    with_effect(code, kind, words)
}

fn with_effect(code: &str, kind: ErrorKind, words: &'static str) -> Meaning {
    let unsettled =
        matches!(code, "LAP000000" | "LAP500001" | "EVZ20006" | "EVZ20008" | "EVZ49999" | "EVZ50000");
    let seconds = match code {
        "EVZ10029" => Some(10),
        "LAP500007" | "EVZ10007" => Some(60),
        // A pull that was cut off holds the queue until its 20 s are over.
        "LAP068001" => Some(20),
        "LAP030069" => Some(15),
        _ if kind == Busy => Some(5),
        _ => None,
    };
    let effect = if unsettled { Effect::Unknown } else { Effect::None };
    Meaning { kind, words, effect, retry_after: seconds.map(Duration::from_secs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_same_however_they_are_written() {
        for (written, code) in [
            ("0", "0"),
            (" lap500004 ", "LAP500004"),
            ("0X1400006", "0x01400006"),
            ("0x01400006", "0x01400006"),
            ("EVZ20007\n", "EVZ20007"),
        ] {
            assert_eq!(normal(written), code, "{written}");
        }
        assert_eq!(wrapped("add Exception{LAP006001}").as_deref(), Some("LAP006001"));
        assert_eq!(wrapped("add Exception{EVZ20010} "), Some("EVZ20010".to_owned()));
        for none in ["LAP006001", "{}", "add Exception{", ""] {
            assert_eq!(wrapped(none), None, "{none}");
        }
    }

    #[test]
    fn limits_are_busy_and_say_when_to_come_again() {
        for code in ["LAP500007", "EVZ10007", "EVZ10029", "LAP068001", "LAP030069"] {
            let meaning = meaning(code);
            assert_eq!((meaning.kind, meaning.effect), (Busy, Effect::None), "{code}");
            assert!(meaning.retry_after.is_some(), "{code}");
        }
    }

    #[test]
    fn every_family_of_codes_has_its_kind() {
        for (code, kind) in [
            ("LAP300002", Unauthorized),
            ("LAP500004", Unauthorized),
            ("LAP008000", Conflict),
            ("EVZ20007", Offline),
            ("EVZ20008", Timeout),
            ("EVZ20010", InvalidInput),
            ("EVZ20015", Unsupported),
            ("0x01400003", Refused),
            ("0x01400fff", Refused),
            ("LAP034001", Refused),
            ("VMS050034", Refused),
            ("", Protocol),
        ] {
            assert_eq!(meaning(code).kind, kind, "{code}");
        }
        // An answer that leaves open whether something was done is not said to have done nothing.
        assert_eq!(meaning("LAP000000").effect, Effect::Unknown);
        assert_eq!(meaning("EVZ20010").effect, Effect::None);
    }
}

//! The platform's error codes in words (`facts/hikcentral_hikpartner_supabase.md` A4).

use bascule_sdk::{Effect, ErrorKind};

use ErrorKind::{
    Busy, Conflict, InvalidInput, LockedOut, NotFound, Offline, Protocol, Refused, Timeout, Unauthorized,
    Unsupported,
};

/// What a code means.
pub(crate) struct Meaning {
    pub(crate) kind: ErrorKind,
    pub(crate) words: &'static str,
    /// What a write may have done when it ended with this code.
    pub(crate) effect: Effect,
}

/// `0x02401003` for a gateway code however it is written, the plain number for others.
pub(crate) fn normal(code: &str) -> String {
    let code = code.trim();
    let hexadecimal = code.strip_prefix("0x").or_else(|| code.strip_prefix("0X"));
    let number = match hexadecimal {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => code.parse().ok(),
    };
    match number {
        Some(number) if hexadecimal.is_some() || number > 0xFFFF => format!("0x{number:08x}"),
        Some(number) => number.to_string(),
        None => code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect(),
    }
}

/// Looks a code up. The platform's own words help where two products number differently (from 0x02401007 on).
pub(crate) fn meaning(code: &str, said: &str) -> Meaning {
    let (kind, words) = match code {
        "1" => (Refused, "the platform reports an unknown error"),
        "2" => (InvalidInput, "the platform does not accept a parameter"),
        "3" => (Refused, "the platform has not enough resources"),
        "4" => (Timeout, "the platform's own network timed out"),
        "5" => (Busy, "the platform's service or database failed; a full database says so too"),
        "6" => (Busy, "the platform is busy"),
        "7" => (Unsupported, "the platform does not know the command"),
        "8" => (Unsupported, "this version does not know the path, or not in this API version"),
        "9" => (Unauthorized, "the token is not valid"),
        "10" => (Protocol, "the platform got a bad answer from one of its parts"),
        "11" | "12" => (Unsupported, "the platform does not know the address"),
        "13" => (Unauthorized, "the platform's service and its OpenAPI do not trust each other"),
        "14" | "15" | "16" => (Offline, "the platform's network or one of its services is down"),
        "17" => (Refused, "the partner has no OpenAPI permission for this"),
        "64" => (Unauthorized, "the partner user is not valid"),
        "65" => (LockedOut, "the partner user is locked"),
        "66" => (Unauthorized, "the partner user does not exist"),
        "67" => (Refused, "the platform has to be initialised first"),
        "69" => (Refused, "the API is not authorised for this partner"),
        "128" => (NotFound, "the platform has no such thing"),
        "129" => (Offline, "the device is offline"),
        "130" => (Refused, "the partner has no permission on this resource"),
        "131" => (Conflict, "it exists already"),
        "132" => (Refused, "the platform has reached the most it takes"),
        "133" => (Conflict, "it is occupied"),
        "140" => (NotFound, "the schedule does not exist"),
        "192" => (Refused, "the operation failed"),
        "193" => (Offline, "the platform's cloud storage failed"),
        "194" => (Offline, "the platform cannot reach the device"),
        "195" => (Unsupported, "the device does not support it"),
        _ => gateway(code, said),
    };
    let unsettled = matches!(code, "1" | "4" | "5" | "10" | "192" | "194")
        || code.starts_with("0x000521")
        || code.starts_with("0x000523");
    Meaning { kind, words, effect: if unsettled { Effect::Unknown } else { Effect::None } }
}

fn gateway(code: &str, said: &str) -> (ErrorKind, &'static str) {
    let said = said.to_ascii_lowercase();
    match code {
        "0x02401000" | "0x02401019" => (Unauthorized, "the gateway saw no AppKey"),
        "0x02401001" => (Unauthorized, "the gateway does not know the AppKey"),
        "0x02401002" => (Unauthorized, "the gateway saw no signature"),
        "0x02401003" => {
            (Unauthorized, "the gateway refuses the signature: key and secret do not belong together")
        }
        "0x02401004" | "0x02401005" | "0x02401006" => (Unauthorized, "the gateway refuses the token"),
        // Numbered differently by iSecure Center: what it says decides.
        "0x02401007" | "0x02401008" | "0x02401009" | "0x0240100b" if said.contains("limit") => {
            (Busy, "the gateway's call limit is reached")
        }
        "0x02401007" | "0x02401008" | "0x02401009" if said.contains("expired") => {
            (Unauthorized, "the gateway says that the token has expired")
        }
        "0x02401007" | "0x02401008" | "0x02401009"
            if said.contains("permission") || said.contains("authori") =>
        {
            (Refused, "the gateway gives no permission")
        }
        "0x02401007" => (Refused, "the gateway gives no permission"),
        "0x02401008" => (Unauthorized, "the gateway could not authenticate"),
        "0x02401009" | "0x0240100b" => (Busy, "the gateway's call limit is reached"),
        "0x0240100a" => (InvalidInput, "the gateway cannot convert a parameter"),
        "0x0240100c" => (Busy, "the gateway's statistics failed"),
        "0x0240101b" | "0x0240101c" | "0x0240101d" => {
            (Refused, "the gateway does not take calls from this address")
        }
        "0x02401021" | "0x02401022" | "0x02401023" => (InvalidInput, "the gateway cannot read the body"),
        _ if code.starts_with("0x0240103") => (Busy, "what is behind the gateway failed"),
        "0x00072001" => (InvalidInput, "a parameter is missing"),
        "0x00072002" => (InvalidInput, "a parameter is out of range"),
        "0x00072003" => (InvalidInput, "a parameter has the wrong format"),
        "0x00072004" => (InvalidInput, "the answer would be too long: ask for smaller pages"),
        "0x00052101" | "0x00052102" | "0x00052104" => (Busy, "a service of the platform is not available"),
        "0x00052103" => (Timeout, "a service of the platform timed out"),
        "0x00072201" => (Refused, "no permission on the resource"),
        "0x00072202" | "0x00072203" | "0x00072204" => (Refused, "the resource or its licence is missing"),
        _ => (Refused, "the platform refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_same_however_they_are_written() {
        for (written, code) in [
            ("0", "0"),
            (" 131 ", "131"),
            ("0x02401003", "0x02401003"),
            ("0X0240100A", "0x0240100a"),
            ("37752835", "0x02401003"),
            ("a b\n", "ab"),
        ] {
            assert_eq!(normal(written), code, "{written}");
        }
    }

    #[test]
    fn the_retry_guidance_of_the_facts_is_kept() {
        // facts A4, last paragraph: what comes back and what never does.
        for code in ["4", "5", "6", "129", "194", "0x00052101", "0x00052103", "0x02401009"] {
            assert!(matches!(meaning(code, "").kind, Busy | Timeout | Offline), "{code}");
        }
        for code in ["2", "8", "12", "17", "69", "128", "131", "0x02401000", "0x02401003", "0x02401008"] {
            assert!(!matches!(meaning(code, "").kind, Busy | Timeout | Offline), "{code}");
        }
    }

    #[test]
    fn the_two_numberings_are_told_apart_by_their_words() {
        assert_eq!(meaning("0x02401009", "API call limit reached").kind, Busy);
        assert_eq!(meaning("0x02401009", "permission exception").kind, Refused);
        assert_eq!(meaning("0x02401007", "token expired").kind, Unauthorized);
        assert_eq!(meaning("0x0240100b", "call limit").kind, Busy);
    }
}

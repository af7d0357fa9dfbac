//! The subStatusCodes that an operator meets (`facts/isapi.md` 3.4, 4.4, 8).

use bascule_sdk::ErrorKind;

/// subStatusCode -> kind, and what it means to an operator.
pub(super) const KNOWN: &[(&str, ErrorKind, &str)] = &[
    // The person.
    (
        "employeeNoNotExist",
        ErrorKind::NotFound,
        "the person is not enrolled on this terminal",
    ),
    (
        "deviceUserNotExist",
        ErrorKind::NotFound,
        "the person is not enrolled on this terminal",
    ),
    (
        "employeeNoAlreadyExist",
        ErrorKind::Conflict,
        "a person with this employee number is enrolled already",
    ),
    (
        "employeeNoAlreadyUserExist",
        ErrorKind::Conflict,
        "a person with this employee number is enrolled already",
    ),
    (
        "duplicateEmployeeNo",
        ErrorKind::Conflict,
        "a person with this employee number is enrolled already",
    ),
    (
        "deviceUserAlreadyExist",
        ErrorKind::Conflict,
        "the person is enrolled on this terminal already",
    ),
    (
        "illegalEmployeeNo",
        ErrorKind::InvalidInput,
        "the terminal does not accept this employee number",
    ),
    (
        "nameIsOverlong",
        ErrorKind::InvalidInput,
        "the name is too long for this terminal",
    ),
    (
        "nameContainsInvalidCharcters",
        ErrorKind::InvalidInput,
        "the name has characters that this terminal does not accept",
    ),
    (
        "nameContainsInvalidCharacters",
        ErrorKind::InvalidInput,
        "the name has characters that this terminal does not accept",
    ),
    (
        "deviceUserFull",
        ErrorKind::Refused,
        "the terminal has no room for another person",
    ),
    (
        "cardFullPerUser",
        ErrorKind::Refused,
        "the person has as many cards as the terminal allows",
    ),
    (
        "deviceCardFull",
        ErrorKind::Refused,
        "the terminal has no room for another card",
    ),
    (
        "cardNoAlreadyExist",
        ErrorKind::Conflict,
        "the card is bound already",
    ),
    (
        "cardNoNotExist",
        ErrorKind::NotFound,
        "the card is not on this terminal",
    ),
    // The face.
    (
        "deviceUserAlreadyExistFace",
        ErrorKind::Conflict,
        "the person has a face on this terminal already",
    ),
    (
        "customHumanIDRepeat",
        ErrorKind::Conflict,
        "the person has a face on this terminal already",
    ),
    (
        "faceDataNotExist",
        ErrorKind::NotFound,
        "the person has no face on this terminal",
    ),
    (
        "deleteNoExistFace",
        ErrorKind::NotFound,
        "the person has no face on this terminal",
    ),
    (
        "faceDataPIDError",
        ErrorKind::NotFound,
        "the terminal has no face record for this person",
    ),
    (
        "deviceFaceFull",
        ErrorKind::Refused,
        "the terminal has no room for another face",
    ),
    (
        "faceLibraryNumError",
        ErrorKind::Refused,
        "the terminal allows no further face library",
    ),
    (
        "faceImagesNumError",
        ErrorKind::Refused,
        "the face library is full",
    ),
    (
        "faceLibraryIDError",
        ErrorKind::InvalidInput,
        "there is no face library with this number",
    ),
    (
        "faceLibraryError",
        ErrorKind::InvalidInput,
        "the face library cannot be used",
    ),
    (
        "faceDataModeling",
        ErrorKind::Busy,
        "the terminal is still working on another face",
    ),
    (
        "urlDownloadFail",
        ErrorKind::Offline,
        "the terminal could not fetch the photo from its address",
    ),
    (
        "fileDownloadFailed",
        ErrorKind::Offline,
        "the terminal could not fetch the photo from its address",
    ),
    (
        "faceURLIsEmpty",
        ErrorKind::InvalidInput,
        "the photo has no address",
    ),
    // The photo.
    (
        "SubpicAnalysisModelingError",
        ErrorKind::InvalidInput,
        "the photo was rejected: no usable face could be made out in it",
    ),
    (
        "PicAnalysisNoTargetError",
        ErrorKind::InvalidInput,
        "the photo was rejected: no face was found in it",
    ),
    (
        "pictureFaceDetectZero",
        ErrorKind::InvalidInput,
        "the photo was rejected: no face was found in it",
    ),
    (
        "multipleFaceObjectError",
        ErrorKind::InvalidInput,
        "the photo was rejected: there are several faces in it",
    ),
    (
        "faceDataAnalysisError",
        ErrorKind::InvalidInput,
        "the photo was rejected: the face could not be analysed",
    ),
    (
        "faceLowQulity",
        ErrorKind::InvalidInput,
        "the photo was rejected: the face is of poor quality",
    ),
    (
        "faceLowQuality",
        ErrorKind::InvalidInput,
        "the photo was rejected: the face is of poor quality",
    ),
    (
        "faceResolutionOrRatioError",
        ErrorKind::InvalidInput,
        "the photo was rejected: wrong resolution or proportions",
    ),
    (
        "picResolutionInvalidError",
        ErrorKind::InvalidInput,
        "the photo was rejected: wrong resolution",
    ),
    (
        "picFormatError",
        ErrorKind::InvalidInput,
        "the photo was rejected: send a baseline JPEG",
    ),
    (
        "picSizeExceedError",
        ErrorKind::InvalidInput,
        "the photo was rejected: larger than 200 KB",
    ),
    (
        "pictureSizeExceedLimit",
        ErrorKind::InvalidInput,
        "the photo was rejected: larger than 200 KB",
    ),
    (
        "picSizeSmallError",
        ErrorKind::InvalidInput,
        "the photo was rejected: too small",
    ),
    (
        "faceDataLenShort",
        ErrorKind::InvalidInput,
        "the photo was rejected: too little data",
    ),
    (
        "pictureUploadFailed",
        ErrorKind::Busy,
        "the terminal could not take the photo",
    ),
    // The request.
    (
        "badParameters",
        ErrorKind::InvalidInput,
        "the terminal does not accept a value (e.g. gender, a date, a name)",
    ),
    (
        "badJsonContent",
        ErrorKind::InvalidInput,
        "the terminal does not accept a value (e.g. gender, a date, a name)",
    ),
    (
        "badXmlContent",
        ErrorKind::InvalidInput,
        "the terminal does not accept a value (e.g. gender, a date, a name)",
    ),
    (
        "badJsonFormat",
        ErrorKind::InvalidInput,
        "the terminal could not read the request; a photo over 200 KB is answered so too",
    ),
    (
        "badXmlFormat",
        ErrorKind::InvalidInput,
        "the terminal could not read the request",
    ),
    (
        "badURLFormat",
        ErrorKind::InvalidInput,
        "the terminal could not read the request",
    ),
    (
        "MessageParametersLack",
        ErrorKind::InvalidInput,
        "the terminal misses a value",
    ),
    (
        "invalidSearchConditions",
        ErrorKind::Busy,
        "the terminal has dropped the search; it has to be started anew",
    ),
    (
        "noSearchIDResource",
        ErrorKind::Busy,
        "the terminal has too many searches open",
    ),
    (
        "invalidContent",
        ErrorKind::InvalidInput,
        "the terminal does not accept the content",
    ),
    (
        "eventNotSupport",
        ErrorKind::Unsupported,
        "this terminal does not know the event",
    ),
    // The terminal.
    ("deviceBusy", ErrorKind::Busy, "the terminal is busy"),
    ("noMemory", ErrorKind::Busy, "the terminal is short of memory"),
    ("serviceUnavailable", ErrorKind::Busy, "the terminal is not ready"),
    ("upgrading", ErrorKind::Busy, "the terminal is being upgraded"),
    (
        "searchTimeout",
        ErrorKind::Busy,
        "the terminal gave up the search",
    ),
    (
        "maxSessionUserLink",
        ErrorKind::Busy,
        "the terminal has too many sessions open",
    ),
    (
        "maxPreviewCount",
        ErrorKind::Busy,
        "the device has too many streams open",
    ),
    (
        "deviceError",
        ErrorKind::Busy,
        "the terminal reports a fault of its own",
    ),
    (
        "internalError",
        ErrorKind::Busy,
        "the terminal reports a fault of its own",
    ),
    (
        "notSupport",
        ErrorKind::Unsupported,
        "this terminal does not support the call",
    ),
    (
        "methodNotAllowed",
        ErrorKind::Unsupported,
        "this terminal does not support the call",
    ),
    (
        "invalidOperation",
        ErrorKind::Unsupported,
        "the terminal does not allow the call, or not in its present state",
    ),
    (
        "lowPrivilege",
        ErrorKind::Refused,
        "the account lacks the right to do this",
    ),
    (
        "badAuthorization",
        ErrorKind::Refused,
        "the account lacks the right to do this",
    ),
    (
        "forbiddenIP",
        ErrorKind::Refused,
        "the terminal does not talk to this address",
    ),
    (
        "notActivated",
        ErrorKind::Refused,
        "the terminal is not activated",
    ),
    (
        "loginPasswordError",
        ErrorKind::Unauthorized,
        "the terminal refuses user name or password",
    ),
    (
        "userNameLocked",
        ErrorKind::LockedOut,
        "the terminal has locked the account",
    ),
    ("deviceIsLocked", ErrorKind::LockedOut, "the terminal is locked"),
    (
        "notAllSuccess",
        ErrorKind::Refused,
        "the terminal did only a part of it",
    ),
    ("allFailed", ErrorKind::Refused, "the terminal did nothing of it"),
];

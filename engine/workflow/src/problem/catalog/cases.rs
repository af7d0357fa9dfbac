//! Codes of test files, `NAME.test.yaml`. The examples are parts of one.

/// The constants.
pub(super) mod codes {
    use super::super::catalog;

    catalog! {
        CASE_NAME = "TS001", "a name that the workflow or its inventory does not have",
            "Steps are named by their `id`, an item of a `for-each` by its key in brackets, an inner step after a slash: \
             `copy[1001]/enrol`. Connections and folders are those of `bascule.yaml`. Cases need names of their own.",
            wrong: "cases:\n  - name: goes well\n    given: { connections: { terminall: [] } }\n    expect: { status: succeeded }\n",
            right: "cases:\n  - name: goes well\n    given: { connections: { terminal: [] } }\n    expect: { status: succeeded }\n";
        CASE_REQUEST = "TS002", "not a request",
            "A request is a method in capitals (or `ANY`), a blank, and a path that begins with `/`; `*` stands for anything \
             within a segment, `**` for anything. Scheme and host are the connection's own; which of several devices is \
             meant says `at:`.",
            wrong: "cases:\n  - name: goes well\n    given:\n      connections:\n        terminal:\n          - { request: get deviceInfo, respond: { status: 200 } }\n    expect: { status: succeeded }\n",
            right: "cases:\n  - name: goes well\n    given:\n      connections:\n        terminal:\n          - { request: GET /ISAPI/System/deviceInfo, respond: { status: 200 } }\n    expect: { status: succeeded }\n";
        CASE_ANSWER = "TS003", "an answer that contradicts itself",
            "An answer has one body: `json`, `text`, `base64`, `file` or `zeros`. `fault: timeout` answers nothing, so it has \
             neither status nor body; `fault: cut` breaks off in the middle of the answer; `fault: refuse` lets nobody in, so \
             nothing is known of the request and only `at` and `times` go with it.",
            wrong: "cases:\n  - name: goes well\n    given:\n      connections:\n        terminal:\n          - request: GET /ISAPI/System/deviceInfo\n            respond: { fault: timeout, status: 200 }\n    expect: { status: succeeded }\n",
            right: "cases:\n  - name: goes well\n    given:\n      connections:\n        terminal:\n          - request: GET /ISAPI/System/deviceInfo\n            respond: { fault: timeout }\n    expect: { status: failed }\n";
        CASE_MATCHER = "TS004", "an expectation that cannot be met or read",
            "A map with one of the words `any`, `absent`, `matches`, `contains`, `length`, `unordered`, `exactly`, `not` and \
             `one-of` as its only key is a matcher. Expressions see `value` (what stands at this place), `status`, `output`, \
             `error`, `steps`, `undo`, `files`, `inputs`, `trigger`, `run` and `requests`.",
            wrong: "cases:\n  - name: goes well\n    expect: { output: { name: { matches: \"(\" } } }\n",
            right: "cases:\n  - name: goes well\n    expect: { output: { name: { matches: \"[A-Z].*\" } } }\n";
        CASE_INPUTS = "TS005", "inputs that the workflow does not take",
            "The inputs of a case are held against those that the workflow declares, as `bascule run` does it. Values with \
             expressions in them are looked at when the case runs.",
            wrong: "cases:\n  - name: goes well\n    inputs: { flour: 3 }\n    expect: { status: succeeded }\n",
            right: "cases:\n  - name: goes well\n    inputs: { floor: 3 }\n    expect: { status: succeeded }\n";
    }
}

//! Codes of a workflow's structure: values of keywords, ids, inputs, and advice on steps.

/// The constants.
pub(super) mod codes {
    use super::super::catalog;

    catalog! {
        BAD_VALUE = "WF020", "a value that this key cannot have",
            "The value is outside the range, or not one of the words that the key knows.",
            wrong: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n    retry: { attempts: 0 }\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n    retry: { attempts: 3 }\n";
        BAD_DURATION = "WF021", "not a duration",
            "Durations are whole numbers with units: `500ms`, `90s`, `5m`, `1h30m`, `2d`. A number alone is refused, \
             since nobody can tell whether seconds or milliseconds are meant.",
            wrong: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n    timeout: 30\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n    timeout: 30s\n";
        BAD_NAME = "WF022", "a name that cannot be used in expressions",
            "Ids of steps, names of inputs and loop variables begin with a letter and go on with letters, digits and \
             `_`. A `-` would be a minus sign in `steps.my-step.output`. Words of the language (`true`, `not`, ..) and \
             the names that are always there (`inputs`, `steps`, `run`, ..) cannot be loop variables.",
            wrong: "steps:\n  - id: device-info\n    uses: isapi/device.info\n    with: { terminal: entrance }\n",
            right: "steps:\n  - id: device_info\n    uses: isapi/device.info\n    with: { terminal: entrance }\n";
        DUPLICATE_ID = "WF023", "two steps with one id",
            "`steps.ID.output` must mean one step, also across blocks and `finally`.",
            wrong: "steps:\n  - { id: info, uses: isapi/device.info, with: { terminal: entrance } }\n  - { id: info, uses: isapi/device.info, with: { terminal: entrance } }\n",
            right: "steps:\n  - { id: before, uses: isapi/device.info, with: { terminal: entrance } }\n  - { id: after, uses: isapi/device.info, with: { terminal: entrance } }\n";
        KEYS_DO_NOT_FIT = "WF024", "keys that do not go together",
            "A step either calls a function (`uses`) or is a block (`steps`). What belongs to a call (`with`, `retry`, \
             `timeout`, `repeat`, `catch`, `verify`, `poll`, `once`, `undo`) has no place on a block: put it on the \
             steps inside. `as`, `key` and `parallel` belong to `for-each`.",
            wrong: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n    parallel: 4\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n";
        NO_STEPS = "WF025", "no steps",
            "A workflow, a block and `finally` need at least one step.",
            wrong: "steps: []\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n";
        UNKNOWN_FAILURE = "WF026", "an unknown kind of failure",
            "`on:` takes kinds (`offline`, `busy`, `not-found`, ..), codes of a system, which contain a colon \
             (`isapi:deviceUserAlreadyExist`), or `any`. `any` never matches `unauthorized`, `locked-out` and \
             `cancelled`.",
            wrong: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n    retry: { attempts: 3, on: [ofline] }\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n    retry: { attempts: 3, on: [offline] }\n";
        RETRY_FORBIDDEN = "WF027", "a failure that must not be retried",
            "Trying a refused password again locks the account of a terminal for half an hour, for everybody. \
             `unauthorized` and `locked-out` are for people to mend, `cancelled` is what somebody wanted. They can be \
             caught (`catch`), not retried.",
            wrong: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n    retry: { attempts: 3, on: [offline, unauthorized] }\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n    retry: { attempts: 3, on: [offline] }\n";
        INPUT_TYPE = "WF030", "an unknown type of input",
            "The types are string, integer, number, boolean, uuid, date, date-time, duration, enum and json.",
            wrong: "inputs:\n  employee: { type: text }\n",
            right: "inputs:\n  employee: { type: string }\n";
        INPUT_DEFAULT = "WF031", "a default that the input itself would refuse",
            "The default must be of the input's type, match its pattern and be one of its values.",
            wrong: "inputs:\n  floor: { type: integer, default: ground }\n",
            right: "inputs:\n  floor: { type: integer, default: 0 }\n";
        INPUT_PATTERN = "WF032", "a pattern that cannot be used",
            "`pattern` is a regular expression (without look-around and back-references) that the whole text must \
             match. It is for inputs of type string.",
            wrong: "inputs:\n  employee_no: { type: string, pattern: \"[0-9\" }\n",
            right: "inputs:\n  employee_no: { type: string, pattern: \"[0-9]+\" }\n";
        UNDO_OUTSIDE = "WF035", "undo outside an all-or-nothing block",
            "`undo` runs when a later step of the same all-or-nothing block fails. Outside such a block it never runs.",
            wrong: "steps:\n  - uses: isapi/users.create\n    with: { terminal: entrance, user: { employee-no: \"1\", name: Ann } }\n    undo: { uses: isapi/users.delete, with: { terminal: entrance, employee-no: \"1\" } }\n",
            right: "steps:\n  - all-or-nothing: true\n    steps:\n      - uses: isapi/users.create\n        with: { terminal: entrance, user: { employee-no: \"1\", name: Ann } }\n        undo: { uses: isapi/users.delete, with: { terminal: entrance, employee-no: \"1\" } }\n";
        WITHOUT_UNDO = "WF036", "a step of an all-or-nothing block that cannot be undone",
            "When a later step fails, what this step wrote stays. Give it an `undo`; if it only reads, move it out of \
             the block or in front of it.",
            wrong: "steps:\n  - all-or-nothing: true\n    steps:\n      - uses: isapi/users.create\n        with: { terminal: entrance, user: { employee-no: \"1\", name: Ann } }\n",
            right: "steps:\n  - all-or-nothing: true\n    steps:\n      - uses: isapi/users.create\n        with: { terminal: entrance, user: { employee-no: \"1\", name: Ann } }\n        undo: { uses: isapi/users.delete, with: { terminal: entrance, employee-no: \"1\" } }\n";
        NEVER_REPEATED = "WF037", "repeat: never together with retry",
            "`repeat: never` says that an attempt of unknown outcome is not repeated (a door must not open twice), so \
             that only failures which certainly changed nothing are retried. That is seldom what was meant.",
            wrong: "steps:\n  - uses: isapi/doors.open\n    with: { terminal: entrance, door: 1 }\n    repeat: never\n    retry: { attempts: 3 }\n",
            right: "steps:\n  - uses: isapi/doors.open\n    with: { terminal: entrance, door: 1 }\n    repeat: never\n";
        WITHOUT_KEY = "WF038", "for-each without key",
            "Without `key` the items are known by their place in the list. If the list changes between two attempts, \
             a rerun of the failed items meets others. `key` gives each item an identity that stays.",
            wrong: "steps:\n  - for-each: ${{ [1, 2] }}\n    uses: isapi/doors.open\n    with: { terminal: entrance, door: \"${{ item }}\" }\n",
            right: "steps:\n  - for-each: ${{ [1, 2] }}\n    key: ${{ item }}\n    uses: isapi/doors.open\n    with: { terminal: entrance, door: \"${{ item }}\" }\n";
    }
}

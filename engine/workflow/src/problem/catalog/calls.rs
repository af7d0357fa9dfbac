//! Codes of calls: `uses:` and `with:` against the plugins' own types.

/// The constants.
pub(super) mod codes {
    use super::super::catalog;

    catalog! {
        BAD_USES = "WF040", "uses: does not name a function",
            "A function is written `PLUGIN/INTERFACE.FUNCTION`, for example `isapi/faces.modify`; `bascule plugin show \
             PLUGIN` lists them.",
            wrong: "steps:\n  - uses: isapi.device.info\n    with: { terminal: entrance }\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n";
        UNKNOWN_PLUGIN = "WF041", "an unknown plugin",
            "Plugins are listed in `bascule.yaml` under `plugins:`; `bascule plugin list` shows them.",
            wrong: "steps:\n  - uses: isappi/device.info\n    with: { terminal: entrance }\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n";
        UNKNOWN_FUNCTION = "WF042", "the plugin has no such function",
            "`bascule plugin show PLUGIN` lists the functions with their parameters.",
            wrong: "steps:\n  - uses: isapi/device.inof\n    with: { terminal: entrance }\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n";
        UNKNOWN_PARAMETER = "WF043", "the function has no such parameter",
            "The keys of `with:` are the function's parameters. They may be written in kebab, snake or camel case.",
            wrong: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance, timeout: 5s }\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n    timeout: 5s\n";
        MISSING_PARAMETER = "WF044", "a parameter is missing",
            "Every parameter that is not optional must stand under `with:`.",
            wrong: "steps:\n  - uses: isapi/doors.open\n    with: { terminal: entrance }\n",
            right: "steps:\n  - uses: isapi/doors.open\n    with: { terminal: entrance, door: 1 }\n";
        WRONG_TYPE = "WF045", "a value of another type than the parameter's",
            "The value is compared with the plugin's own types before anything runs. Numbers are not turned into texts \
             or back: quote a number that is meant as a text. A text with `${{ }}` inside is always a text; a value \
             that is exactly one `${{ }}` keeps its type.",
            wrong: "steps:\n  - uses: isapi/faces.find\n    with: { terminal: entrance, fpid: 12 }\n",
            right: "steps:\n  - uses: isapi/faces.find\n    with: { terminal: entrance, fpid: \"12\" }\n";
        SAME_PARAMETER = "WF046", "one parameter in two spellings",
            "`employee-no`, `employee_no` and `employeeNo` are the same name. Keep one.",
            wrong: "steps:\n  - uses: isapi/users.delete\n    with: { terminal: entrance, employee-no: \"1\", employeeNo: \"2\" }\n",
            right: "steps:\n  - uses: isapi/users.delete\n    with: { terminal: entrance, employee-no: \"1\" }\n";
        EVENT_SOURCE = "WF047", "an event source used as a step",
            "The function takes a sink: it runs for as long as the server does. It is started by `triggers: - event:`.",
            wrong: "steps:\n  - uses: isapi/events.stream\n    with: { terminal: entrance }\n",
            right: "triggers:\n  - event: { uses: isapi/events.stream, with: { terminal: entrance } }\n";
        UNKNOWN_CAPABILITY = "WF048", "an unknown connection, folder or store",
            "A parameter of these types takes a name that `bascule.yaml` declares, or that the workflow itself maps to \
             such a name under `connections:`, `folders:` or `stores:`.",
            wrong: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrence }\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n";
        CONNECTION_PARAMS = "WF049", "parameters of a connection",
            "A connection with `params:` serves every row of a device table; each use supplies them: `{ connection: \
             terminal, device: .. }`. One without `params:` is named alone.",
            wrong: "steps:\n  - uses: isapi/device.info\n    with: { terminal: terminal }\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: { connection: terminal, device: { ip: 192.0.2.7 } } }\n";
        CAPABILITY_NAME = "WF050", "the name of a connection, folder or store must be written out",
            "What a step can reach stands in the workflow's text, so that it can be read and checked before it runs. \
             An expression cannot choose it; the parameters of a connection may be expressions.",
            wrong: "inputs:\n  where: string\nsteps:\n  - uses: isapi/device.info\n    with: { terminal: \"${{ inputs.where }}\" }\n",
            right: "inputs:\n  where: string\nsteps:\n  - uses: isapi/device.info\n    with: { terminal: { connection: terminal, device: \"${{ inputs.where }}\" } }\n";
        NOT_AN_EVENT_SOURCE = "WF051", "the function is not an event source",
            "`triggers: - event:` starts functions that take a sink. Other functions are called by steps.",
            wrong: "triggers:\n  - event: { uses: isapi/device.info, with: { terminal: entrance } }\n",
            right: "triggers:\n  - event: { uses: isapi/events.stream, with: { terminal: entrance } }\n";
        UNKNOWN_WORKFLOW = "WF052", "there is no such workflow",
            "`uses: workflow/NAME` and `on-failure: NAME` name a workflow of the same project by its file's name without \
             `.yaml`.",
            wrong: "steps:\n  - uses: workflow/tidyup\n",
            right: "steps:\n  - uses: workflow/tidy-up\n";
        BROKEN_WORKFLOW = "WF053", "a workflow that has errors of its own",
            "A workflow can only be called, or started after a failure, when it has no errors itself. `bascule check` \
             shows them in its own file.",
            wrong: "steps:\n  - uses: workflow/broken-one\n",
            right: "steps:\n  - uses: workflow/tidy-up\n";
        RECURSION = "WF054", "a workflow that would start itself",
            "Calls of workflows, and alerts (`on-failure`), must not lead back to where they began: such a run would not \
             end. For repetition there are `for-each` and `poll`.",
            wrong: "steps:\n  - uses: workflow/example\n",
            right: "steps:\n  - uses: workflow/tidy-up\n";
        TOO_DEEP = "WF055", "workflows that call each other too deep",
            "At most 8 workflows may stand inside each other, the outermost included.",
            wrong: "steps:\n  - uses: workflow/deep-1\n",
            right: "steps:\n  - uses: workflow/deep-2\n";
    }
}

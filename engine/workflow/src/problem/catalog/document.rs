//! Codes of the YAML text itself.

/// The constants.
pub(super) mod codes {
    use super::super::catalog;

    catalog! {
        SYNTAX = "WF001", "the text is not YAML",
            "The YAML reader cannot go on at this place. Usual causes: a missing colon, a tab, lines that do not begin in \
             the same column, a bracket or quote that is never closed, and texts with `: ` or ` #` in them or with \
             `*`, `&`, `@`, `%` or a backtick in front: those must be quoted. Only the first such place is reported.",
            wrong: "name: Photos: all terminals\n",
            right: "name: \"Photos: all terminals\"\n";
        TOO_LARGE = "WF002", "the file is larger than is read",
            "A workflow file has at most 256 KiB, 20,000 values, 200 aliases and 32 levels of lists and maps. An alias \
             counts as much as the value it repeats, so that a small file cannot unfold to a huge one. Data does not \
             belong into a workflow: read it in a step or hand it over as an input.",
            wrong: "output:\n  deep: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n",
            right: "output:\n  flat: [1]\n";
        DUPLICATE_KEY = "WF003", "a key stands twice in one map",
            "Many YAML readers keep the last one in silence. Here it is an error, because one of the two is not what \
             runs.",
            wrong: "name: Photos\nname: Faces\n",
            right: "name: Faces\n";
        MERGE_KEY = "WF004", "merge keys are not used",
            "`<<` belongs to YAML 1.1 and was dropped from YAML 1.2. Repeat a whole value with an alias, or write the \
             entries out.",
            wrong: "steps:\n  - uses: isapi/device.info\n    with: &door\n      terminal: entrance\n  - uses: isapi/device.info\n    with:\n      <<: *door\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: &door\n      terminal: entrance\n  - uses: isapi/device.info\n    with: *door\n";
        SEVERAL_DOCUMENTS = "WF005", "more than one document in the file",
            "`---` begins a second YAML document. One file holds one workflow; its name is the file's name.",
            wrong: "name: one\n---\nname: two\n",
            right: "name: one\n";
        TAG = "WF006", "tags are not used",
            "Texts such as `!secret` or `!!str` in front of a value are tags. Quote a text that looks like a number. \
             Secrets are named by the connections in `bascule.yaml` and never stand in a workflow.",
            wrong: "name: !!str 12\n",
            right: "name: \"12\"\n";
        LEADING_ZEROS = "WF007", "a number loses its leading zeros",
            "A number without quotes is a number: `007` becomes 7, and a terminal then looks for employee 7. Numbers \
             of people, cards, doors and rooms are texts: quote them.",
            wrong: "inputs:\n  employee_no: { type: json, default: 007 }\n",
            right: "inputs:\n  employee_no: { type: json, default: \"007\" }\n";
        BOOLEAN_WORD = "WF008", "yes, no, on and off are texts",
            "YAML 1.1 took these words for booleans, YAML 1.2 does not. Only `true` and `false` are booleans here. \
             Write those, or quote the word to show that the word is meant.",
            wrong: "inputs:\n  reply: { type: string, default: no }\n",
            right: "inputs:\n  reply: { type: string, default: \"no\" }\n";
        SEXAGESIMAL = "WF009", "a text that some programs read as a number to the base 60",
            "YAML 1.1 reads `1:30` as 90. Here it is a text. Quote it so that every program agrees; durations are \
             written `90s`, `5m` or `1h30m`.",
            wrong: "inputs:\n  opens: { type: string, default: 7:30 }\n",
            right: "inputs:\n  opens: { type: string, default: \"7:30\" }\n";
        BRACES = "WF010", "an expression that must be quoted",
            "`{` begins a map in YAML. A value that begins with `{{`, and an expression between brackets or braces, \
             must be quoted; so must one that holds `: ` or ` #`. Expressions are written `${{ .. }}`, with the dollar \
             sign.",
            wrong: "output:\n  run: {{ run.id }}\n",
            right: "output:\n  run: \"${{ run.id }}\"\n";
        KEY_NOT_TEXT = "WF011", "a key that is not a text",
            "A list or a map stands where a key belongs, for example because a text with brackets lacks its quotes.",
            wrong: "output:\n  ? [a, b]\n  : 1\n",
            right: "output:\n  \"[a, b]\": 1\n";
        UNKNOWN_KEY = "WF012", "an unknown key",
            "A key that is not known is refused rather than ignored: a misspelt `retry` would otherwise be a step \
             without retries. Note that the key for triggers is `triggers`, as `on` is a boolean to older YAML programs.",
            wrong: "steps:\n  - uses: isapi/device.info\n    wiht: { terminal: entrance }\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n";
        MISSING_KEY = "WF013", "a key is missing",
            "The map at this place means nothing without this key.",
            wrong: "inputs:\n  mode: { type: enum }\n",
            right: "inputs:\n  mode: { type: enum, values: [fast, slow] }\n";
        WRONG_SHAPE = "WF014", "another kind of value is needed here",
            "For example a map where a list belongs. A list has a `-` before each item; a map has `key: value` lines.",
            wrong: "steps:\n  uses: isapi/device.info\n  with: { terminal: entrance }\n",
            right: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n";
        LONG_NUMBER = "WF015", "a number with more digits than can be kept",
            "Whole numbers are exact up to 18,446,744,073,709,551,615; longer ones are rounded. Numbers of cards and \
             serial numbers are texts: quote them.",
            wrong: "inputs:\n  card: { type: json, default: 123456789012345678901234 }\n",
            right: "inputs:\n  card: { type: json, default: \"123456789012345678901234\" }\n";
        ALIAS = "WF016", "an alias inside the value it stands for",
            "`*name` repeats the value marked `&name`. Inside that value it would never end.",
            wrong: "output: &all\n  again: *all\n",
            right: "output:\n  first: &first 1\n  again: *first\n";
    }
}

//! Codes of expressions and of the names they use.

/// The constants.
pub(super) mod codes {
    use super::super::catalog;

    catalog! {
        EXPRESSION = "WF060", "not an expression",
            "Between `${{` and `}}` stands one expression: names, fields (`a.b`), comparisons, `and`, `or`, `not`, \
             `x if condition else y`, and filters (`| default('-')`). There are no statements.",
            wrong: "output:\n  id: ${{ run.id + }}\n",
            right: "output:\n  id: ${{ run.id }}\n";
        HALF_INTERPOLATED = "WF061", "a condition with text around its expression",
            "`if`, `skip-if`, `assert`, `until` and `for-each` are expressions as a whole: write them bare, or as \
             exactly one `${{ }}`. With text around it the value would be a text, and a text is not a condition.",
            wrong: "inputs:\n  floor: integer\nsteps:\n  - if: ${{ inputs.floor }} > 3\n    uses: isapi/device.info\n    with: { terminal: entrance }\n",
            right: "inputs:\n  floor: integer\nsteps:\n  - if: inputs.floor > 3\n    uses: isapi/device.info\n    with: { terminal: entrance }\n";
        UNKNOWN_NAME = "WF062", "an unknown name",
            "Expressions know `inputs`, `steps`, `run`, `trigger`, the variable of the `for-each` around them, and at \
             their places `result`, `output` and `error`. Texts need quotes.",
            wrong: "inputs:\n  mode: string\noutput:\n  mode: ${{ input.mode }}\n",
            right: "inputs:\n  mode: string\noutput:\n  mode: ${{ inputs.mode }}\n";
        UNKNOWN_STEP = "WF063", "no step has this id",
            "`steps.ID` names a step by its `id:`. A step without `id:` cannot be named.",
            wrong: "steps:\n  - { id: info, uses: isapi/device.info, with: { terminal: entrance } }\noutput:\n  model: ${{ steps.inof.output.model }}\n",
            right: "steps:\n  - { id: info, uses: isapi/device.info, with: { terminal: entrance } }\noutput:\n  model: ${{ steps.info.output.model }}\n";
        LATER_STEP = "WF064", "a step that has not run yet",
            "A step sees the steps before it, not itself and not the later ones. The steps of a block with `for-each` \
             are seen inside the block only, as each item has its own.",
            wrong: "steps:\n  - { id: find, uses: isapi/faces.find, with: { terminal: entrance, fpid: \"${{ steps.info.output.model }}\" } }\n  - { id: info, uses: isapi/device.info, with: { terminal: entrance } }\n",
            right: "steps:\n  - { id: info, uses: isapi/device.info, with: { terminal: entrance } }\n  - { id: find, uses: isapi/faces.find, with: { terminal: entrance, fpid: \"${{ steps.info.output.model }}\" } }\n";
        UNKNOWN_INPUT = "WF065", "an input that is not declared",
            "`inputs.NAME` must stand under `inputs:`. That is what a form, a webhook and `--input` are checked against.",
            wrong: "inputs:\n  employee_id: uuid\noutput:\n  id: ${{ inputs.employe_id }}\n",
            right: "inputs:\n  employee_id: uuid\noutput:\n  id: ${{ inputs.employee_id }}\n";
        UNKNOWN_FIELD = "WF066", "the value has no such field",
            "The type of the value is known, and it has no field of this name. Values of plugins have snake_case \
             fields: `employee-no` of a plugin's type is `employee_no` in an expression. A step has `output`, \
             `status` and `error`, with `for-each` also `items` and `counts`.",
            wrong: "steps:\n  - { id: info, uses: isapi/device.info, with: { terminal: entrance } }\noutput:\n  model: ${{ steps.info.output.modell }}\n",
            right: "steps:\n  - { id: info, uses: isapi/device.info, with: { terminal: entrance } }\noutput:\n  model: ${{ steps.info.output.model }}\n";
        NOT_IN_SCOPE = "WF067", "a name that means nothing at this place",
            "`result` is there in `verify.assert` and `poll.until`, `output` in `verify` and `undo`, `error` in \
             `catch`, and a loop variable inside its own `for-each`.",
            wrong: "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n    if: result.model == 'x'\n",
            right: "steps:\n  - id: info\n    uses: isapi/device.info\n    with: { terminal: entrance }\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n    if: steps.info.output.model == 'x'\n";
        EXPRESSION_TYPE = "WF068", "an expression of the wrong type",
            "A condition must be true or false, and `for-each` needs a list. Nothing else is taken for them in silence.",
            wrong: "inputs:\n  mode: string\nsteps:\n  - if: inputs.mode\n    uses: isapi/device.info\n    with: { terminal: entrance }\n",
            right: "inputs:\n  mode: string\nsteps:\n  - if: inputs.mode == 'full'\n    uses: isapi/device.info\n    with: { terminal: entrance }\n";
    }
}

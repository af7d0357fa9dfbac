// A form for the inputs of a workflow, from their types.
import { el } from "./dom.js";

export function fields(inputs) {
  const readers = [];
  const boxes = inputs.map((input) => {
    const id = `input-${input.name}`;
    const [control, read] = control_of(input, id);
    readers.push(() => { const value = read(); return value === undefined ? null : [input.name, value]; });
    return el("div", {},
      el("label", { for: id }, input.name, input.required ? el("span", { class: "soft", title: "required" }, " *") : null),
      control,
      input.description ? el("p", { class: "hint" }, input.description) : null);
  });
  return { box: el("div", { class: "fields" }, boxes), read: () => Object.fromEntries(readers.map((read) => read()).filter(Boolean)) };
}

function control_of(input, id) {
  const given = input.default ?? "";
  const text = (type, extra = {}) => el("input", { id, type, required: input.required, value: given, ...extra });
  switch (input.type) {
    case "boolean": {
      const box = el("input", { id, type: "checkbox", checked: input.default === true });
      return [box, () => box.checked];
    }
    case "integer": case "number": {
      const box = text("number", { step: input.type === "integer" ? "1" : "any" });
      return [box, () => (box.value === "" ? undefined : Number(box.value))];
    }
    case "enum": {
      const box = el("select", { id, required: input.required },
        input.required ? null : el("option", { value: "" }, "–"),
        input.values.map((value) => el("option", { value, selected: value === input.default }, value)));
      return [box, () => (box.value === "" ? undefined : box.value)];
    }
    case "date": { const box = text("date"); return [box, () => box.value || undefined]; }
    case "date-time": {
      const box = el("input", { id, type: "datetime-local", step: "1", required: input.required });
      return [box, () => (box.value === "" ? undefined : new Date(box.value).toISOString())];
    }
    case "json": {
      const box = el("textarea", { id, required: input.required, spellcheck: "false" }, input.default === null || input.default === undefined ? "" : JSON.stringify(input.default, null, 1));
      return [box, () => {
        if (box.value.trim() === "") return undefined;
        try { return JSON.parse(box.value); } catch (error) { throw new Error(`${input.name} is not JSON: ${error.message}`); }
      }];
    }
    default: {
      const box = text("text", { pattern: input.pattern, spellcheck: "false" });
      return [box, () => (box.value === "" ? undefined : box.value)];
    }
  }
}

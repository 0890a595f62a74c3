// Elements around the time line: filters, buttons, legend, and the call that is chosen.

/** Make an element in another. A text of the report is never read as HTML. */
function make(parent, tag, about = {}, text = "") {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(about)) found.setAttribute(name, value);
  found.textContent = text;
  parent.append(found);
  return found;
}

function makeButton(parent, text, label, act) {
  make(parent, "button", { type: "button", "aria-label": label, title: label }, text).addEventListener("click", act);
}

/** The filters, by operation, outcome and text; `changed` is called after each change. */
class Filters {
  constructor(parent, calls, changed) {
    const bar = make(parent, "div", { class: "bar", role: "group", "aria-label": "Filters" });
    this.operation = make(bar, "select", { "aria-label": "Operation" });
    make(this.operation, "option", { value: "" }, "all operations");
    for (const name of [...new Set(calls.map((call) => call.operation))].sort()) make(this.operation, "option", { value: name }, name);
    this.outcomes = new Map();
    for (const outcome of OUTCOMES) {
      const count = calls.filter((call) => call.outcome === outcome).length;
      if (count) this.outcomes.set(outcome, this.makeOutcome(bar, outcome, count, changed));
    }
    this.text = make(bar, "input", { type: "search", placeholder: "error, operation, task run", "aria-label": "Text to find" });
    this.operation.addEventListener("change", changed);
    this.text.addEventListener("input", changed);
  }

  makeOutcome(bar, outcome, count, changed) {
    const found = make(bar, "button", { type: "button", "aria-pressed": "true", "data-outcome": outcome });
    make(found, "span", { class: outcome, "aria-hidden": "true" }, `${GLYPHS[outcome]} `);
    found.append(`${outcome} ${count}`);
    found.addEventListener("click", () => {
      found.setAttribute("aria-pressed", String(found.getAttribute("aria-pressed") === "false"));
      changed();
    });
    return found;
  }

  matches(call) {
    const off = this.outcomes.get(call.outcome)?.getAttribute("aria-pressed") === "false";
    const other = this.operation.value && this.operation.value !== call.operation;
    return !off && !other && call.words.includes(this.text.value.toLowerCase());
  }

  reset() {
    this.operation.value = this.text.value = "";
    for (const each of this.outcomes.values()) each.setAttribute("aria-pressed", "true");
  }
}

/** Show a sample of each pattern and mark that the time line has. */
function drawLegend(list, calls, circuits, colour) {
  const parts = [...calls.flatMap((call) => call.parts), ...circuits.flatMap((each) => each.spans)];
  const has = (kind, name) => parts.some((part) => part.kind === kind && (part.outcome ?? part.state ?? kindOf(part.name)) === name);
  const samples = [
    ["attempt", "ok", "attempt succeeded"], ["attempt", "failed", "failed"], ["attempt", "timeout", "timeout"],
    ["attempt", "abandoned", "abandoned"], ["attempt", "running", "running"], ["span", "open", "circuit open"],
    ["span", "half_open", "half open"], ["mark", "rows", "rows"], ["mark", "alerts", "alert"], ["mark", "ring", "other event"],
  ];
  list.replaceChildren();
  for (const [kind, name, words] of samples) {
    if (!has(kind, name)) continue;
    const item = make(list, "li");
    const pen = make(item, "canvas", { width: 44, height: 24, "aria-hidden": "true" }).getContext("2d");
    pen.scale(2, 2);
    if (kind === "attempt") drawBar(pen, { ...colour, ok: colour.recovered }, name, 0, 1, 22, 10);
    else if (kind === "span") drawSpan(pen, colour, name, 0, 1, 22, 10);
    else drawMark(pen, colour, name, 11, 6, 5);
    item.append(` ${words}`);
  }
}

/** Describe a call in words: its attempts, waits and marks. */
function describe(panel, call) {
  panel.hidden = !call;
  panel.replaceChildren();
  if (!call) return;
  const head = make(panel, "h3");
  make(head, "span", { class: call.outcome, "aria-hidden": "true" }, `${GLYPHS[call.outcome] ?? ""} `);
  head.append(`${call.operation}: ${call.outcome}, ${clock(call.started)}, ${lasted(call.ended - call.started)}`);
  const list = make(panel, "ul");
  for (const part of call.parts) make(list, "li", {}, inWords(part));
  if (call.task_run) make(panel, "div", {}, `task run ${call.task_run}`);
}

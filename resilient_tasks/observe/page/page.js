// The time line: zoom, pan, filters, the call that is chosen. All texts of the report reach the page as text, never as HTML.

(function start() {
  const report = JSON.parse(document.getElementById("data").textContent);
  const chart = document.getElementById("chart");
  if (!chart) return;
  const { calls, circuits, first, last } = timed(report);
  const margin = (last - first) * 0.02;
  const whole = { from: first - margin, to: last + margin };
  const shown = { operation: "", text: "", off: new Set() };
  let view = { ...whole }, lanes = [], boxes = [], visible = [], selected = null, row = 15, colour = colours(), waiting = false;

  /** Make an element; a text is never read as HTML. */
  function make(parent, tag, about = {}, text = "") {
    const found = document.createElement(tag);
    for (const [name, value] of Object.entries(about)) found.setAttribute(name, value);
    found.textContent = text;
    parent.append(found);
    return found;
  }
  const button = (parent, text, label, act) => {
    const found = make(parent, "button", { type: "button", "aria-label": label, title: label }, text);
    found.addEventListener("click", act);
    return found;
  };

  // Filters
  const bar = make(chart, "div", { class: "bar", role: "group", "aria-label": "Filters" });
  const operation = make(bar, "select", { "aria-label": "Operation" });
  make(operation, "option", { value: "" }, "all operations");
  for (const name of [...new Set(calls.map((call) => call.operation))].sort()) make(operation, "option", { value: name }, name);
  const outcomes = OUTCOMES.filter((outcome) => calls.some((call) => call.outcome === outcome)).map((outcome) => {
    const count = calls.filter((call) => call.outcome === outcome).length;
    const found = make(bar, "button", { type: "button", "aria-pressed": "true", "data-outcome": outcome });
    make(found, "span", { class: outcome, "aria-hidden": "true" }, `${GLYPHS[outcome]} `);
    found.append(`${outcome} ${count}`);
    found.addEventListener("click", () => {
      if (!shown.off.delete(outcome)) shown.off.add(outcome);
      filter();
    });
    return found;
  });
  const words = make(bar, "input", { type: "search", placeholder: "error, operation, task run", "aria-label": "Text to find" });
  operation.addEventListener("change", () => { shown.operation = operation.value; filter(); });
  words.addEventListener("input", () => { shown.text = words.value.toLowerCase(); filter(); });

  // What is shown, and the buttons
  const tools = make(chart, "div", { class: "bar", role: "group", "aria-label": "Zoom" });
  button(tools, "+", "Zoom in", () => zoom(1 / 1.6));
  button(tools, "−", "Zoom out", () => zoom(1.6));
  button(tools, "‹", "Earlier", () => pan(-0.25));
  button(tools, "›", "Later", () => pan(0.25));
  button(tools, "Whole run", "Whole run", () => look(whole));
  const status = make(tools, "span", { id: "shown", role: "status", class: "right" });
  const scroller = make(chart, "div", { class: "scroller" });
  const canvas = make(scroller, "canvas", {
    tabindex: "0", role: "application", "aria-roledescription": "time line", "aria-describedby": "keys shown",
    "aria-label": "Attempts over time; the table below shows the same",
  });
  const spacer = make(scroller, "div");
  const tip = make(scroller, "div", { class: "tip", role: "tooltip", hidden: "" });
  const pen = canvas.getContext("2d");
  const panel = make(chart, "div", { class: "call", "aria-live": "polite", hidden: "" });
  drawLegend(make(chart, "ul", { class: "legend" }));
  make(chart, "p", { class: "sub keys", id: "keys" }, "Wheel or pinch zooms, a drag pans. Keys: + and − zoom, ← → pan, ↑ ↓ choose a call, Enter zooms to it, 0 is the whole run, Esc resets.");

  function drawLegend(list) {
    const ofAttempts = ["ok", "failed", "timeout", "abandoned", "running"].filter((kind) => calls.some((call) => call.parts.some((part) => part.outcome === kind)));
    const entries = ofAttempts.map((kind) => [kind === "ok" ? "attempt succeeded" : kind, (sample) => drawBar(sample, { ...colour, ok: colour.recovered }, kind, 0, 1, 22, 10)]);
    const states = new Set(circuits.flatMap((each) => each.spans.map((span) => span.state)));
    if (states.has("open")) entries.push(["circuit open", (sample) => drawSpan(sample, colour, "open", 0, 1, 22, 10)]);
    if (states.has("half_open")) entries.push(["half open", (sample) => drawSpan(sample, colour, "half_open", 0, 1, 22, 10)]);
    const marks = new Set(calls.flatMap((call) => call.parts.filter((part) => part.kind === "mark").map((mark) => mark.name)));
    for (const [begin, name] of [["rows", "rows"], ["notify", "alert"]]) {
      if ([...marks].some((mark) => mark.startsWith(begin))) entries.push([name, (sample) => drawMark(sample, colour, begin, 11, 6, 5)]);
    }
    list.replaceChildren();
    for (const [name, picture] of entries) {
      const item = make(list, "li");
      const sample = make(item, "canvas", { width: 44, height: 24, "aria-hidden": "true" }).getContext("2d");
      sample.scale(2, 2);
      picture(sample);
      item.append(` ${name}`);
    }
  }

  // Drawing
  function filter() {
    const matches = (call) => (!shown.operation || call.operation === shown.operation) && !shown.off.has(call.outcome) && call.words.includes(shown.text);
    visible = calls.filter(matches);
    operation.value = shown.operation;
    for (const each of outcomes) each.setAttribute("aria-pressed", String(!shown.off.has(each.dataset.outcome)));
    lanes = lanesOf(visible, circuits, (last - first) / 200);
    visible.sort((one, other) => one.started - other.started);
    if (selected && !visible.includes(selected)) choose(null);
    const kept = new Set(visible.map((call) => String(call.place)));
    const drawn = new Set(calls.map((call) => String(call.place)));
    for (const each of document.querySelectorAll("#calls tbody tr")) each.hidden = drawn.has(each.dataset.call) && !kept.has(each.dataset.call);
    measure();
  }

  function measure() {
    const rows = lanes.reduce((sum, lane) => sum + lane.rows, 0), others = AXIS + lanes.length * (NAME + 4) + 6;
    row = Math.max(9, Math.min(15, Math.floor((440 - others) / Math.max(rows, 1))));
    const height = others + rows * row, most = Math.max(160, Math.min(window.innerHeight * 0.62, height));
    canvas.style.height = `${most}px`;
    spacer.style.height = `${Math.max(0, height - most)}px`;
    canvas.width = Math.round(scroller.clientWidth * devicePixelRatio);
    canvas.height = Math.round(most * devicePixelRatio);
    later();
  }

  function later() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; paint(); });
  }

  function paint() {
    const width = scroller.clientWidth, height = canvas.clientHeight;
    pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    boxes = draw(pen, { lanes, view, width, height, top: scroller.scrollTop, row, colour, selected });
    const inside = visible.filter((call) => call.ended >= view.from && call.started <= view.to).length;
    const each = view.to - view.from < 10 ? 0.1 : 1;
    status.textContent = `${inside} of ${report.timeline.calls.length} calls, ${clock(Math.max(view.from, first), each)} to ${clock(Math.min(view.to, last), each)}`;
  }

  // Zoom and pan
  function look({ from, to }) {
    const span = Math.min(Math.max(to - from, 0.002), whole.to - whole.from);
    const begin = Math.min(Math.max(from, whole.from), whole.to - span);
    view = { from: begin, to: begin + span };
    later();
  }
  function zoom(factor, share = 0.5) {
    const span = view.to - view.from, at = view.from + span * share;
    look({ from: at - span * factor * share, to: at + span * factor * (1 - share) });
  }
  function pan(share) {
    const by = (view.to - view.from) * share;
    look({ from: view.from + by, to: view.to + by });
  }
  const isWhole = () => view.to - view.from >= (whole.to - whole.from) * 0.999;

  let scrolled = 0;  // a wheel that scrolls the page goes on scrolling when the time line comes under the pointer
  window.addEventListener("wheel", (event) => {
    const passes = event.target !== canvas || event.timeStamp - scrolled < 300 || (event.deltaY > 0 && isWhole() && !event.ctrlKey);
    if (passes && !(event.target === canvas && event.ctrlKey)) { scrolled = event.timeStamp; return; }
    event.preventDefault();
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return pan((event.deltaX || event.deltaY) / canvas.clientWidth);
    const unit = event.deltaMode === 1 ? 30 : 1;
    return zoom(Math.exp(Math.max(-300, Math.min(300, event.deltaY * unit)) * (event.ctrlKey ? 0.01 : 0.002)), event.offsetX / canvas.clientWidth);
  }, { passive: false });

  const pointers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, event);
    canvas.setPointerCapture(event.pointerId);
    if (pointers.size === 1) moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return hint(event);
    tip.hidden = true;
    const [other] = [...pointers.values()].filter((each) => each.pointerId !== event.pointerId);
    moved += Math.abs(event.clientX - before.clientX) + Math.abs(event.clientY - before.clientY);
    pointers.set(event.pointerId, event);
    const left = canvas.getBoundingClientRect().left;
    if (other) {
      const was = Math.max(20, Math.abs(before.clientX - other.clientX)), is = Math.max(20, Math.abs(event.clientX - other.clientX));
      zoom(was / is, ((event.clientX + other.clientX) / 2 - left) / canvas.clientWidth);
    } else if (moved > 4) {
      pan((before.clientX - event.clientX) / canvas.clientWidth);
      scroller.scrollTop += before.clientY - event.clientY;
    }
    return undefined;
  });
  const release = (event) => {
    const tapped = pointers.delete(event.pointerId) && event.type === "pointerup" && moved <= 4 && !pointers.size;
    if (!tapped) return;
    choose(at(event)?.call ?? null);
    panel.scrollIntoView({ block: "nearest" });
  };
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, release);
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("dblclick", () => (selected ? focus(selected) : zoom(0.5)));

  /** Return what is under the pointer, or nearest to it. */
  function at(event) {
    const reach = event.pointerType === "touch" ? 14 : 4;
    let best = null, nearest = Infinity;
    for (const box of boxes) {
      const dx = Math.max(box.from - event.offsetX, 0, event.offsetX - box.to);
      const dy = Math.max(box.y - event.offsetY, 0, event.offsetY - box.y - box.height);
      if (dx <= reach && dy <= reach && dx + dy <= nearest) [best, nearest] = [box, dx + dy];
    }
    return best;
  }

  function hint(event) {
    const box = at(event);
    tip.hidden = !box;
    if (!box) return;
    tip.textContent = said(box);
    const side = event.offsetX > canvas.clientWidth / 2;
    tip.style.left = side ? "auto" : `${event.offsetX + 12}px`;
    tip.style.right = side ? `${canvas.clientWidth - event.offsetX + 12}px` : "auto";
    tip.style.top = `${scroller.scrollTop + Math.min(event.offsetY + 14, canvas.clientHeight - 50)}px`;
  }

  const said = ({ call, part }) => (call ? `${call.operation}, ${call.outcome}${part ? ` · ${inWords(part)}` : ""}` : inWords(part));

  // The chosen call
  function choose(call) {
    selected = call;
    panel.hidden = !call;
    panel.replaceChildren();
    if (call) describe(call);
    later();
  }
  function describe(call) {
    const head = make(panel, "h3");
    make(head, "span", { class: call.outcome, "aria-hidden": "true" }, `${GLYPHS[call.outcome] ?? ""} `);
    head.append(`${call.operation}: ${call.outcome}, ${clock(call.started)}, ${lasted(call.ended - call.started)}`);
    const list = make(panel, "ul");
    for (const part of call.parts) make(list, "li", {}, inWords(part));
    if (call.task_run) make(panel, "div", {}, `task run ${call.task_run}`);
  }

  function focus(call) {
    if (!visible.includes(call)) {
      Object.assign(shown, { operation: "", text: "", off: new Set() });
      words.value = "";
      filter();
    }
    choose(call);
    const beside = Math.max((call.ended - call.started) * 0.4, (last - first) * 0.002, 0.05);
    look({ from: call.started - beside, to: call.ended + beside });
    show(call);
  }
  /** Scroll the lane of a call into view. */
  function show(call) {
    let y = 0;
    for (const lane of lanes) {
      if (lane.calls.includes(call)) break;
      y += NAME + lane.rows * row + 4;
    }
    y += NAME + call.row * row;
    if (y < scroller.scrollTop || y > scroller.scrollTop + canvas.clientHeight - AXIS - row) scroller.scrollTop = y - canvas.clientHeight / 2;
  }

  document.addEventListener("click", (event) => {
    const found = event.target.closest("tr[data-call], tr[data-operation]");
    if (!found || event.target.closest("details.message, summary") || String(getSelection())) return;
    const call = calls.find((each) => String(each.place) === found.dataset.call);
    if (!call && !found.dataset.operation) return;
    event.preventDefault();
    if (call) focus(call);
    else { shown.operation = shown.operation === found.dataset.operation ? "" : found.dataset.operation; filter(); }
    tools.scrollIntoView();
    canvas.focus({ preventScroll: true });
  });

  const keys = {
    "+": () => zoom(1 / 1.6), "=": () => zoom(1 / 1.6), "-": () => zoom(1.6), 0: () => look(whole), Home: () => look(whole),
    ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2), ArrowUp: () => next(-1), ArrowDown: () => next(1),
    Enter: () => selected && focus(selected),
    Escape: () => { Object.assign(shown, { operation: "", text: "", off: new Set() }); words.value = ""; choose(null); filter(); look(whole); },
  };
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  function next(by) {
    if (!visible.length) return;
    const place = selected ? visible.indexOf(selected) + by : by > 0 ? 0 : visible.length - 1;
    const call = visible[(place + visible.length) % visible.length];
    choose(call);
    if (call.ended < view.from || call.started > view.to) look({ from: call.started - (view.to - view.from) / 2, to: call.started + (view.to - view.from) / 2 });
    show(call);
  }

  const recolour = () => { colour = colours(); drawLegend(chart.querySelector(".legend")); paint(); };
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", recolour);
  scroller.addEventListener("scroll", later);
  window.addEventListener("resize", measure);
  chart.hidden = false;
  filter();
})();

// The time line: what is drawn, which call is chosen, and what keys and tables do to it.

const KEYS = "Wheel or pinch zooms, a drag pans. Keys: + and − zoom, ← → pan, ↑ ↓ choose a call, Enter zooms to it, 0 is the whole run, Esc resets.";

class TimeLine {
  constructor(chart, report) {
    Object.assign(this, timed(report)); // calls, circuits, first, last
    this.count = report.timeline.calls.length;
    this.view = new View(this.first, this.last, () => this.later());
    this.filters = new Filters(chart, this.calls, () => this.filter());
    this.makeElements(chart);
    this.selected = null;
    this.colour = colours();
    chart.hidden = false;
    this.listen();
    this.recolour();
    this.filter();
  }

  makeElements(chart) {
    this.tools = make(chart, "div", { class: "bar", role: "group", "aria-label": "Zoom" });
    makeButton(this.tools, "+", "Zoom in", () => this.view.zoom(1 / 1.6));
    makeButton(this.tools, "−", "Zoom out", () => this.view.zoom(1.6));
    makeButton(this.tools, "‹", "Earlier", () => this.view.pan(-0.25));
    makeButton(this.tools, "›", "Later", () => this.view.pan(0.25));
    makeButton(this.tools, "Whole run", "Whole run", () => this.view.look(this.view.whole));
    this.status = make(this.tools, "span", { id: "shown", role: "status", class: "right" });
    this.scroller = make(chart, "div", { class: "scroller" });
    this.canvas = make(this.scroller, "canvas", {
      tabindex: "0", role: "application", "aria-roledescription": "time line", "aria-describedby": "keys shown",
      "aria-label": "Attempts over time; the table below shows the same",
    });
    this.spacer = make(this.scroller, "div");
    this.tip = make(this.scroller, "div", { class: "tip", role: "tooltip", hidden: "" });
    this.panel = make(chart, "div", { class: "call", "aria-live": "polite", hidden: "" });
    this.legend = make(chart, "ul", { class: "legend" });
    make(chart, "p", { class: "sub keys", id: "keys" }, KEYS);
  }

  /** Show the calls that match the filters, here and in the table. */
  filter() {
    this.visible = this.calls.filter((call) => this.filters.matches(call)).sort((one, other) => one.started - other.started);
    this.lanes = lanesOf(this.visible, this.circuits, (this.last - this.first) / 200);
    if (!this.visible.includes(this.selected)) this.choose(null);
    const hidden = new Set(this.calls.filter((call) => !this.visible.includes(call)).map((call) => `call-${call.place}`));
    for (const each of document.querySelectorAll("#calls tbody tr")) each.hidden = hidden.has(each.id);
    this.measure();
  }

  measure() {
    const rows = this.lanes.reduce((sum, lane) => sum + lane.rows, 0), others = AXIS + this.lanes.length * (NAME + 4) + 6;
    this.row = Math.max(9, Math.min(15, Math.floor((440 - others) / Math.max(rows, 1))));
    const height = others + rows * this.row, most = Math.max(160, Math.min(window.innerHeight * 0.62, height));
    this.canvas.style.height = `${most}px`;
    this.spacer.style.height = `${Math.max(0, height - most)}px`;
    this.canvas.width = Math.round(this.scroller.clientWidth * devicePixelRatio);
    this.canvas.height = Math.round(most * devicePixelRatio);
    this.later();
  }

  /** Draw once before the next frame. */
  later() {
    this.frame ??= requestAnimationFrame(() => this.paint());
  }

  paint() {
    this.frame = null;
    const { view, first, last } = this, pen = this.canvas.getContext("2d");
    pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    this.boxes = draw(pen, { ...this, width: this.scroller.clientWidth, height: this.canvas.clientHeight, top: this.scroller.scrollTop });
    const inside = this.visible.filter((call) => call.ended >= view.from && call.started <= view.to).length;
    const each = view.seconds < 1 ? 0.01 : view.seconds < 30 ? 0.1 : 1;
    this.status.textContent = `${inside} of ${this.count} calls, ${clock(Math.max(view.from, first), each)} to ${clock(Math.min(view.to, last), each)}`;
  }

  recolour() {
    this.colour = colours();
    drawLegend(this.legend, this.calls, this.circuits, this.colour);
    this.later();
  }

  choose(call) {
    this.selected = call;
    describe(this.panel, call);
    this.later();
  }

  /** Choose a call and zoom to it. */
  focus(call) {
    if (!this.visible.includes(call)) {
      this.filters.reset();
      this.filter();
    }
    this.choose(call);
    const beside = Math.max((call.ended - call.started) * 0.4, (this.last - this.first) * 0.002, 0.05);
    this.view.look({ from: call.started - beside, to: call.ended + beside });
    this.scrollTo(call);
  }

  /** Choose the next call in the order of time. */
  next(by) {
    if (!this.visible.length) return;
    const place = this.selected ? this.visible.indexOf(this.selected) + by : Math.min(by, 0);
    const call = this.visible.at(place % this.visible.length), { view } = this;
    this.choose(call);
    if (call.ended < view.from || call.started > view.to) view.look({ from: call.started - view.seconds / 2, to: call.started + view.seconds / 2 });
    this.scrollTo(call);
  }

  scrollTo(call) {
    const above = this.lanes.slice(0, this.lanes.findIndex((lane) => lane.calls.includes(call)));
    const y = above.reduce((sum, lane) => sum + NAME + lane.rows * this.row + 4, 0) + NAME + call.row * this.row;
    const { scroller, canvas } = this, last = scroller.scrollTop + canvas.clientHeight - AXIS - this.row;
    if (y < scroller.scrollTop || y > last) scroller.scrollTop = y - canvas.clientHeight / 2;
  }

  /** Return what is under the pointer, or nearest to it. */
  at(event) {
    const reach = event.pointerType === "touch" ? 14 : 4;
    let best = null, nearest = Infinity;
    for (const box of this.boxes) {
      const dx = Math.max(box.from - event.offsetX, 0, event.offsetX - box.to);
      const dy = Math.max(box.y - event.offsetY, 0, event.offsetY - box.y - box.height);
      if (dx <= reach && dy <= reach && dx + dy <= nearest) [best, nearest] = [box, dx + dy];
    }
    return best;
  }

  /** Say beside the pointer what is under it. */
  hint(event) {
    const box = event && this.at(event), { tip, canvas } = this;
    tip.hidden = !box;
    if (!box) return;
    const { call, part } = box, words = part ? inWords(part) : "";
    tip.textContent = call ? [`${call.operation}, ${call.outcome}`, words].filter(Boolean).join(" · ") : words;
    const right = event.offsetX > canvas.clientWidth / 2;
    tip.style.left = right ? "auto" : `${event.offsetX + 12}px`;
    tip.style.right = right ? `${canvas.clientWidth - event.offsetX + 12}px` : "auto";
    tip.style.top = `${this.scroller.scrollTop + Math.min(event.offsetY + 14, canvas.clientHeight - 50)}px`;
  }

  reset() {
    this.filters.reset();
    this.choose(null);
    this.filter();
    this.view.look(this.view.whole);
  }

  /** Go from a row of a table to its call or operation. */
  follow(event) {
    const row = event.target.closest("tr[data-call], tr[data-operation]");
    if (!row || event.target.closest("summary, details.message") || String(getSelection())) return;
    const call = this.calls.find((each) => String(each.place) === row.dataset.call), { operation } = this.filters;
    if (!call && row.dataset.operation === undefined) return;
    event.preventDefault();
    if (call) this.focus(call);
    else {
      operation.value = operation.value === row.dataset.operation ? "" : row.dataset.operation;
      this.filter();
    }
    this.tools.scrollIntoView();
    this.canvas.focus({ preventScroll: true });
  }

  listen() {
    const { view, canvas } = this;
    zoomWithWheel(canvas, view);
    const tap = (event) => {
      this.choose(this.at(event)?.call ?? null);
      this.panel.scrollIntoView({ block: "nearest" });
    };
    followPointers(canvas, this.scroller, view, { tap, hover: (event) => this.hint(event) });
    canvas.addEventListener("dblclick", () => (this.selected ? this.focus(this.selected) : view.zoom(0.5)));
    const keys = {
      "+": () => view.zoom(1 / 1.6), "=": () => view.zoom(1 / 1.6), "-": () => view.zoom(1.6), 0: () => view.look(view.whole),
      ArrowLeft: () => view.pan(-0.2), ArrowRight: () => view.pan(0.2), ArrowUp: () => this.next(-1), ArrowDown: () => this.next(1),
      Enter: () => this.selected && this.focus(this.selected), Escape: () => this.reset(),
    };
    canvas.addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
    document.addEventListener("click", (event) => this.follow(event));
    this.scroller.addEventListener("scroll", () => this.later());
    window.addEventListener("resize", () => this.measure());
    for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", () => this.recolour());
  }
}

const chart = document.getElementById("chart");
if (chart) new TimeLine(chart, JSON.parse(document.getElementById("data").textContent));

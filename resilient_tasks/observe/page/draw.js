// Draws the lanes on a canvas. Outcomes differ in colour and in pattern; a sign follows each call that was not plainly ok.

const AXIS = 24, NAME = 20;
/** Marks that the bars and signs show already. */
const PLAIN = new Set(["timeout.exceeded", "fallback.used"]);

/** Return the page's colours, which differ in the dark and in print. */
function colours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["page", "ink", "muted", "line", "pale", "failed", "degraded", "recovered", "ok", "running", "timeout", "abandoned", "rows", "alerts"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** Draw the bar of an attempt: ok full, failed hatched, timeout striped, abandoned and running open at the end. */
function drawBar(pen, colour, outcome, x, y, width, height) {
  pen.fillStyle = pen.strokeStyle = colour[outcome] ?? colour.ok;
  pen.lineWidth = 1;
  if (outcome === "ok" || width < 4) {
    pen.fillRect(x, y, width, height);
    return;
  }
  if (outcome === "abandoned" || outcome === "running") pen.setLineDash([3, 2]);
  pen.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
  pen.setLineDash([]);
  if (outcome === "running" || outcome === "abandoned") return;
  pen.save();
  pen.beginPath();
  pen.rect(x, y, width, height);
  pen.clip();
  pen.beginPath();
  const slope = outcome === "failed" ? height : 0;
  const from = Math.max(x, 0) - ((Math.max(x, 0) - x) % 4), to = Math.min(x + width, pen.canvas.width);
  for (let at = from - slope; at < to; at += outcome === "failed" ? 4 : 3) {
    pen.moveTo(at, y + height);
    pen.lineTo(at + slope, y);
  }
  pen.lineWidth = outcome === "failed" ? 1.8 : 1.4;
  pen.stroke();
  pen.restore();
}

/** Draw a circuit: open a full band, half open a striped one, closed a line. */
function drawSpan(pen, colour, state, x, y, width, height) {
  pen.fillStyle = state === "open" ? colour.failed : colour.ok;
  if (state === "open") pen.fillRect(x, y, width, height);
  else if (state === "closed") pen.fillRect(x, y + height / 2 - 1, width, 2);
  else drawBar(pen, { ...colour, half: colour.degraded }, "half", x, y + height / 4, width, height / 2);
}

const kindOf = (mark) => (mark.startsWith("rows") ? "rows" : mark.startsWith("notify") ? "alerts" : PLAIN.has(mark) ? "plain" : "ring");

/** Draw a mark: a diamond for rows, a triangle for alerts, a ring for others. */
function drawMark(pen, colour, kind, x, y, size) {
  pen.fillStyle = kind === "ring" ? colour.page : colour[kind];
  pen.strokeStyle = kind === "ring" ? colour.ink : colour.page;
  pen.lineWidth = 1.5;
  pen.beginPath();
  if (kind === "rows") [[0, -size], [size, 0], [0, size], [-size, 0]].forEach(([dx, dy]) => pen.lineTo(x + dx, y + dy));
  else if (kind === "alerts") [[0, -size], [size, size], [-size, size]].forEach(([dx, dy]) => pen.lineTo(x + dx, y + dy));
  else pen.arc(x, y, size * 0.6, 0, 7);
  pen.closePath();
  if (kind !== "ring") pen.stroke(); // an edge around it, not in it
  pen.fill();
  if (kind === "ring") pen.stroke();
}

/** Draw all that the view shows, and return the boxes of what a pointer can meet. */
function draw(pen, { lanes, view, width, height, top, row, colour, selected }) {
  const scale = width / (view.to - view.from), boxes = [];
  const x = (time) => Math.min(Math.max((time - view.from) * scale, -1e4), 1e6);
  pen.fillStyle = colour.page;
  pen.fillRect(0, 0, width, height);
  const each = step(view.to - view.from, 96 / width), labels = [];
  for (let time = Math.ceil(view.from / each) * each; time < view.to; time += each) labels.push(time);
  pen.fillStyle = colour.line;
  for (const time of labels) pen.fillRect(Math.round(x(time)), 0, 1, height);
  let y = AXIS - top;
  for (const lane of lanes) {
    const bottom = y + NAME + lane.rows * row;
    if (bottom > AXIS && y < height) drawLane(pen, lane, y + NAME, x, { row, colour, selected, width, height, boxes });
    y = bottom + 4;
  }
  pen.fillStyle = colour.page;
  pen.fillRect(0, 0, width, AXIS - 2);
  pen.fillStyle = colour.muted;
  pen.font = "12px system-ui, sans-serif";
  for (const time of labels) if (x(time) + 3 + pen.measureText(clock(time, each)).width < width) pen.fillText(clock(time, each), x(time) + 3, 15);
  return boxes;
}

function drawLane(pen, lane, y, x, { row, colour, selected, width, height, boxes }) {
  const thick = Math.max(3, row - 3);
  pen.fillStyle = colour.line;
  pen.fillRect(0, y - NAME - 2, width, 1);
  for (const span of lane.spans ?? []) {
    const from = x(span.started), to = Math.max(x(span.ended), from + 2);
    drawSpan(pen, colour, span.state, from, y, to - from, thick);
    boxes.push({ from, to, y, height: thick, part: span });
  }
  for (const call of lane.calls) {
    const top = y + call.row * row;
    const from = x(call.started), to = Math.max(x(call.ended), from + 2);
    if (to < 0 || from > width || top + row < 0 || top > height) continue;
    if (call === selected) {
      pen.strokeStyle = colour.ink;
      pen.lineWidth = 2;
      pen.strokeRect(from - 3, top - 2.5, to - from + 6, thick + 5);
    }
    boxes.push({ from, to: to + 8, y: top, height: thick, call });
    drawCall(pen, call, top, x, { thick, colour, boxes });
  }
  pen.font = "600 13px system-ui, sans-serif";
  const name = lane.name.length > 80 ? `${lane.name.slice(0, 79)}…` : lane.name;
  pen.fillStyle = colour.page;
  pen.fillRect(2, y - NAME + 1, pen.measureText(name).width + 6, NAME - 3);
  pen.fillStyle = colour.ink;
  pen.fillText(name, 5, y - 6);
}

function drawCall(pen, call, top, x, { thick, colour, boxes }) {
  for (const part of call.parts) {
    if (part.kind === "mark" && kindOf(part.name) === "plain") continue;
    const from = x(part.started), to = Math.max(x(part.ended), from + (part.kind === "wait" ? 1 : 2)), size = Math.min(5, thick / 2 + 1);
    if (part.kind === "wait") {
      pen.fillStyle = colour.muted;
      pen.fillRect(from, top + thick / 2 - 0.75, to - from, 1.5);
    } else if (part.kind === "attempt") drawBar(pen, { ...colour, ok: colour.recovered }, part.outcome, from, top, to - from, thick);
    else drawMark(pen, colour, kindOf(part.name), from, top + thick / 2, size);
    boxes.push({ from: part.kind === "mark" ? from - size : from, to: part.kind === "mark" ? from + size : to, y: top, height: thick, call, part });
  }
  if (call.outcome === "ok" || (thick <= 6 && call.outcome === "recovered")) return;
  pen.fillStyle = colour[call.outcome];
  pen.font = "bold 12px system-ui, sans-serif";
  pen.fillText(GLYPHS[call.outcome] ?? "", x(call.ended) + 4, top + thick / 2 + 4);
}

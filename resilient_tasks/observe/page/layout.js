"use strict";
// From the report to lanes: one for each circuit and operation, with calls packed into rows. No drawing here.

const OUTCOMES = ["failed", "degraded", "recovered", "running", "ok"];
const GLYPHS = { failed: "✕", degraded: "□", recovered: "●", running: "…", ok: "✓" };

/** Return the calls with all times known: what is unknown is taken from what lies beside it. */
function timed({ run, timeline, circuits }) {
  const times = [run.started, run.ended];
  for (const call of timeline.calls) {
    for (const part of [...call.attempts, ...call.waits]) times.push(part.started, part.ended);
    for (const mark of call.marks) times.push(mark.time);
  }
  for (const circuit of circuits) for (const span of circuit.spans) times.push(span.started, span.ended);
  const known = times.filter(Number.isFinite);
  const first = known.length ? known.reduce((one, other) => Math.min(one, other)) : 0;
  const last = known.length ? known.reduce((one, other) => Math.max(one, other)) : 1;
  const calls = timeline.calls.map((call, place) => timedCall(call, place, last)).filter((call) => call.parts.length);
  return { calls, circuits: circuits.map((each) => timedCircuit(each, first, last)), first, last: Math.max(last, first + 0.001) };
}

function timedCall(call, place, last) {
  const waits = call.waits.filter((wait) => wait.started !== null)
    .map((wait) => ({ ...wait, kind: "wait", ended: Math.max(wait.started, wait.ended ?? last) }));
  const attempts = [];
  for (const attempt of call.attempts) {
    const until = attempt.ended ?? (attempt.outcome === "running" ? last : null);
    const before = [...attempts, ...waits].map((part) => part.ended).filter((time) => until === null || time <= until);
    const started = attempt.started ?? (attempts.length && before.length ? Math.max(...before) : until);
    if (started !== null) attempts.push({ ...attempt, kind: "attempt", started, ended: Math.max(started, until ?? started) });
  }
  const marks = call.marks.filter((mark) => mark.time !== null).map((mark) => ({ ...mark, kind: "mark", started: mark.time, ended: mark.time }));
  const parts = [...attempts, ...waits, ...marks].sort((one, other) => one.started - other.started);
  const texts = [call.operation, call.task_run, call.outcome, ...call.attempts.map((each) => each.error), ...call.marks.map((each) => each.text)];
  return {
    ...call, place, parts, words: texts.filter(Boolean).join("\n").toLowerCase(),
    started: Math.min(...parts.map((part) => part.started)), ended: Math.max(...parts.map((part) => part.ended)),
  };
}

function timedCircuit({ name, spans }, first, last) {
  return { name, spans: spans.map((span) => ({ ...span, kind: "span", started: span.started ?? first, ended: span.ended ?? last })) };
}

/** Return a part of a call or circuit in words. */
function inWords({ kind, ...part }) {
  const why = part.error ?? part.reason, took = part.ended > part.started ? lasted(part.ended - part.started) : "";
  if (kind === "mark") return part.text;
  if (kind === "wait") return `waited ${took}${why ? `: ${why}` : ""}`;
  if (kind === "span") return `${part.state.replace("_", " ")} for ${took}${why ? `: ${why}` : ""}`;
  return `attempt ${part.number}: ${part.outcome}${took ? ` after ${took}` : ""}${why ? `: ${why}` : ""}`;
}

/** Return the lanes of these calls; each call gets its row in its lane. */
function lanesOf(calls, circuits, gap) {
  const lanes = circuits.map(({ name, spans }) => ({ name: `circuit ${name}`, spans, calls: [], rows: 1 }));
  const byName = new Map();
  for (const call of [...calls].sort((one, other) => one.started - other.started)) {
    if (!byName.has(call.operation)) byName.set(call.operation, { name: call.operation, calls: [], ends: [] });
    const lane = byName.get(call.operation);
    const free = lane.ends.findIndex((end) => end <= call.started);
    call.row = free < 0 ? lane.ends.length : free;
    lane.ends[call.row] = call.ended + gap;
    lane.calls.push(call);
  }
  const worst = (lane) => Math.min(...lane.calls.map((call) => OUTCOMES.indexOf(call.outcome)));
  const operations = [...byName.values()].map((lane) => ({ ...lane, rows: lane.ends.length, worst: worst(lane) }));
  operations.sort((one, other) => one.worst - other.worst || one.calls[0].started - other.calls[0].started);
  return [...lanes, ...operations];
}

/** Return seconds between two labels of the axis, so that each has at least this share of the view. */
function step(seconds, share) {
  const units = [1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200];
  const days = 86400 * Math.max(1, Math.ceil((seconds * share) / 86400));
  return units.find((unit) => unit >= seconds * share) ?? days;
}

/** Return a time as `12:03:07`, with the decimals that a step needs, or as a date. */
function clock(time, each = 1) {
  const moment = new Date(time * 1000);
  if (Number.isNaN(moment.getTime())) return String(time);
  const text = moment.toISOString();
  if (each >= 86400) return text.slice(0, 10);
  return text.slice(11, each < 0.1 ? 23 : each < 1 ? 21 : 19);
}

function lasted(seconds) {
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

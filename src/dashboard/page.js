"use strict";
// Everything shown is put in as text; nothing that comes from the service is read as HTML.

const OUTCOMES = [
  "completed", "denied", "expired", "refused", "wrong_person", "lost", "failed", "dropped", "duplicate",
];
const FLOW = [
  ["links", "links made", (stats) => stats.links + " out"],
  ["opened", "codes received", (stats) => (stats.open.received || 0) + " wait"],
  ["exchanged", "exchanged", (stats) => (stats.open.exchanging || 0) + " under way"],
  ["settled", "outcome known", (stats) => (stats.open.exchanged || 0) + " being fetched"],
  ["delivered", "delivered", (stats) => stats.parked + " parked"],
  ["revoked", "revoked", (stats) => stats.tokens_held + " tokens held"],
  ["closed", "closed", (stats) => (stats.open.settling || 0) + " to settle"],
];
const NAMES = { webhook: "Lane", global: "All calls", oauth: "OAuth2 calls", invalid_requests: "Invalid requests" };
const SPANS = { webhook: "in a minute", global: "in a second", oauth: "in a second", invalid_requests: "in 10 min" };
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

function make(name, attributes, ...inside) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...inside);
  return element;
}

function draw(name, attributes, ...inside) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...inside);
  return element;
}

function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) return s + " s";
  if (s < 7200) return Math.floor(s / 60) + " min";
  return s < 172800 ? Math.floor(s / 3600) + " h" : Math.floor(s / 86400) + " d";
}

function when(time) {
  const away = Date.parse(time) - Date.now();
  return away > 0 ? "in " + span(away) : span(-away) + " ago";
}

const named = (name) => name.replaceAll("_", " ");

function showFlow(stats) {
  const flow = (stats.recent && stats.recent.flow) || {};
  byId("flow").replaceChildren(...FLOW.map(([key, label, now]) =>
    make("li", { id: "flow-" + key }, make("strong", {}, String(flow[key] || 0)), label, make("br", {}),
      make("small", {}, now(stats)))));
}

function showHours(hours) {
  const [width, height, base] = [480, 170, 145];
  const hour = 3600000, last = Math.floor(Date.now() / hour), counts = new Map();
  for (const one of hours) counts.set(Math.round(Date.parse(one.at) / hour), one.outcomes);
  const sum = (outcomes) => Object.values(outcomes || {}).reduce((a, b) => a + b, 0);
  const most = Math.max(1, ...[...counts.values()].map(sum));
  const all = {}, parts = [];
  for (let i = 0; i < 24; i++) {
    const at = last - 23 + i, outcomes = counts.get(at) || {};
    let top = base;
    for (const name of OUTCOMES) {
      const count = outcomes[name] || 0;
      if (count === 0) continue;
      all[name] = (all[name] || 0) + count;
      const tall = Math.max(2, count / most * 125);
      top -= tall;
      const label = `${count} ${named(name)}`;
      parts.push(draw("rect", { x: 30 + i * 18.5, y: top, width: 14, height: tall, rx: 1.5, class: "fill-" + name },
        draw("title", {}, label)));
    }
    if (i % 6 === 5 || i === 0) {
      const hours = new Date(at * hour).getHours();
      const label = String(hours).padStart(2, "0") + ":00";
      parts.push(draw("text", { x: 37 + i * 18.5, y: 164, "text-anchor": "middle", class: i === 0 ? "odd" : "" }, label));
    }
  }
  const said = Object.entries(all).map(([name, n]) => `${n} ${named(name)}`).join(", ") || "none";
  const about = { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "In 24 hours: " + said };
  byId("hours").replaceChildren(draw("svg", about,
    draw("line", { x1: 26, x2: width, y1: base, y2: base, class: "grid" }),
    draw("text", { x: 22, y: 26, "text-anchor": "end" }, String(most)),
    draw("text", { x: 22, y: base + 3, "text-anchor": "end" }, "0"), ...parts));
  byId("legend").replaceChildren(...OUTCOMES.filter((name) => all[name]).map((name) =>
    make("li", {}, make("i", { class: "fill-" + name }), `${named(name)} ${all[name]}`)));
}

function showAges(ages) {
  const [width, height, base] = [480, 170, 145];
  const most = Math.max(1, ...ages.map((age) => age.count));
  const wide = (width - 34) / ages.length, parts = [];
  ages.forEach((age, i) => {
    const x = 30 + i * wide, tall = age.count === 0 ? 0 : Math.max(2, age.count / most * 115);
    const late = age.up_to_s === null || age.up_to_s > 100;
    const label = age.up_to_s === null ? "more" : "≤ " + age.up_to_s + " s";
    const bar = { x: x + 2, y: base - tall, width: wide - 4, height: tall, rx: 1.5, class: late ? "late" : "bar" };
    parts.push(draw("rect", bar, draw("title", {}, `${age.count} codes, ${label}`)));
    const write = (y, text, kind) =>
      parts.push(draw("text", { x: x + wide / 2, y, "text-anchor": "middle", class: kind }, text));
    if (age.count > 0) write(base - tall - 5, String(age.count), "");
    write(164, age.up_to_s === null ? "more" : String(age.up_to_s), i % 2 ? "odd" : "");
    if (age.up_to_s === 100) {
      parts.push(draw("line", { x1: x + wide, x2: x + wide, y1: 6, y2: base, class: "limit", id: "line-100" }),
        draw("text", { x: x + wide - 5, y: 14, "text-anchor": "end" }, "100 s"));
    }
  });
  const said = ages.filter((age) => age.count).map((age) =>
    `${age.count} ${age.up_to_s === null ? "older" : "within " + age.up_to_s + " s"}`).join(", ") || "none";
  const about = { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Codes presented: " + said };
  byId("ages").replaceChildren(draw("svg", about,
    draw("line", { x1: 26, x2: width, y1: base, y2: base, class: "grid" }), ...parts));
}

function meter(name, used, most, words, trouble) {
  const share = most ? Math.min(100, used / most * 100) : 0;
  return make("li", {}, make("div", {}, make("span", trouble ? { class: "bad" } : {}, name), make("span", {}, words)),
    draw("svg", { viewBox: "0 0 100 2", preserveAspectRatio: "none", "aria-hidden": "true" },
      draw("rect", { width: 100, height: 2, rx: 1, class: "track" }),
      draw("rect", { width: share, height: 2, rx: 1, class: share >= 90 || trouble ? "late" : "bar" })));
}

function showBudgets(budgets) {
  byId("budgets").replaceChildren(...budgets.map((budget) => {
    const name = NAMES[budget.budget] + (budget.lane === null ? "" : " " + budget.lane);
    const limit = budget.limit === null ? "" : "of " + budget.limit + " ";
    const words = [`${budget.spent} ${limit}${SPANS[budget.budget]}${budget.limit === null ? ", no limit" : ""}`];
    if (budget.free_at) words.push("free " + when(budget.free_at));
    if (budget.blocked_until) words.push("blocked by Discord, free " + when(budget.blocked_until));
    return meter(name, budget.spent, budget.limit, words.join("; "), Boolean(budget.blocked_until));
  }));
}

function showLanes(lanes) {
  byId("lanes").replaceChildren(...(lanes.length ? lanes.map((lane) => {
    const places = lane.places === null ? "no limit of places" : `${lane.held} of ${lane.places} places held`;
    const name = `Lane ${lane.lane}: ` + (lane.trouble ? "out: " + lane.trouble : "works");
    return meter(name, lane.held, lane.places, places, Boolean(lane.trouble));
  }) : [make("li", {}, "Codes come by direct intake.")]));
}

function rows(id, all, none) {
  byId(id).replaceChildren(...(all.length ? all : [make("li", { class: "none" }, none)]));
}

function showParked(parked) {
  const focused = document.activeElement && document.activeElement.id;
  rows("parked", parked.grants.map((grant) => {
    const sinks = Object.entries(grant.deliveries).filter(([, state]) => state === "parked").map(([sink]) => sink);
    const failed = grant.failed_calls.filter((call) => call.call.startsWith("deliver ")).at(-1);
    const status = failed && (failed.status ? "status " + failed.status : named(failed.reason));
    const why = failed ? `${status}, ${when(failed.at)}` : "its sink is not configured";
    const button = make("button", { type: "button", id: "requeue-" + grant.id }, "Requeue");
    button.addEventListener("click", () => requeue(grant.id, button));
    return make("li", {}, make("code", {}, grant.id), make("span", {}, sinks.join(", ")),
      make("span", { class: "grow" }, why), button);
  }), "None.");
  if (focused && byId(focused)) byId(focused).focus();
}

async function requeue(id, button) {
  button.disabled = true;
  let said;
  try {
    const answer = await fetch("/requeue/" + id, { method: "POST" });
    said = answer.ok ? `Grant ${id} is delivered again.` : `Not requeued: ${(await answer.json()).error}`;
  } catch {
    said = "Not requeued: the dashboard does not answer. Is it still running?";
  }
  byId("told").textContent = said;
  button.disabled = false;
}

function showWaiting(waiting) {
  const left = waiting.total - waiting.grants.length;
  const all = waiting.grants.map((grant) => {
    const next = Object.entries(grant.next_attempts).map(([call, at]) => `${call} ${when(at)}`).join(", ");
    const until = grant.outcome ? named(grant.outcome) : grant.deadline ? "code expires " + when(grant.deadline) : "";
    return make("li", {}, make("code", {}, grant.id), make("span", {}, named(grant.state)), make("span", {}, until),
      make("span", { class: "grow" }, next ? "next: " + next : "a call is under way, or all is parked"));
  });
  if (left > 0) all.push(make("li", { class: "none" }, `and ${left} more: codeferry debug queue list --limit 0`));
  rows("waiting", all, "Nothing waits.");
}

function showErrors(failures) {
  rows("errors", failures.toReversed().map((failed) =>
    make("li", {}, make("span", {}, when(failed.at)), make("strong", {}, failed.call),
      make("span", { class: "grow" }, named(failed.reason)), make("code", {}, failed.grant))), "None.");
}

function show(seen) {
  const state = byId("state");
  state.className = seen.running ? "good" : "bad";
  if (!seen.running) {
    state.textContent = "The service does not answer at its control socket.";
    return;
  }
  const stats = seen.stats;
  const open = Object.values(stats.open).reduce((a, b) => a + b, 0);
  state.textContent = `running; ${open} open, oldest ${stats.oldest_open ? when(stats.oldest_open) : "none"}; ` +
    `journal ${(stats.store_bytes / 1e6).toFixed(1)} MB`;
  const recent = stats.recent;
  showFlow(stats);
  showHours(recent.hours);
  showAges(recent.presented);
  showBudgets(seen.budget);
  showLanes(recent.lanes);
  showParked(seen.parked);
  showWaiting(seen.waiting);
  showErrors(recent.failed_calls);
}

const live = new EventSource("/live");
live.addEventListener("message", (event) => show(JSON.parse(event.data)));
live.addEventListener("error", () => {
  byId("state").className = "bad";
  byId("state").textContent = "The dashboard does not answer: start `codeferry dashboard` again.";
});

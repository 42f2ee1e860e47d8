"use strict";

const get = (id) => document.getElementById(id);
const user = get("user");
const buttons = ["approve", "deny", "other"].map(get);
const at = (moment) => (typeof moment === "number" ? moment : Date.parse(moment));
let shown = "";

function chosen() {
  get("consent").href = "/consent?user=" + user.value;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function show(live) {
  if (user.options.length === 0) {
    live.people.forEach((person) => user.add(new Option(person.name, person.id)));
    chosen();
  }
  const steps = live.steps.sort((a, b) => at(a.at) - at(b.at));
  get("empty").hidden = steps.length > 0;
  get("steps").replaceChildren(...steps.map((step) => {
    const line = document.createElement("li");
    const moment = new Date(at(step.at));
    const clock = element("time", moment.toLocaleTimeString("en-GB") + "." + String(moment.getMilliseconds()).padStart(3, "0"));
    clock.dateTime = moment.toISOString();
    line.append(clock, element("span", step.who ? step.who + ": " + step.what : step.what));
    return line;
  }).reverse());
  get("none").hidden = live.results.length > 0;
  get("results").replaceChildren(...live.results.map((result) => {
    const text = element("pre", JSON.stringify(result, null, 2));
    text.tabIndex = 0;
    return text;
  }));
}

async function look() {
  try {
    const text = await (await fetch("/live")).text();
    if (text !== shown) {
      shown = text;
      show(JSON.parse(text));
    }
  } catch {
    get("said").textContent = "codeferry try has ended. Start it again and open its new address.";
  }
  setTimeout(look, 400);
}

async function decide(action, approver) {
  buttons.forEach((button) => { button.disabled = true; });
  get("said").textContent = "On the way…";
  const query = new URLSearchParams({ user: user.value, as: approver, action });
  try {
    const answer = await (await fetch("/decide?" + query, { method: "POST" })).json();
    get("said").textContent = answer.error || "The browser is back at the service.";
  } catch {
    get("said").textContent = "codeferry try did not answer.";
  }
  buttons.forEach((button) => { button.disabled = false; });
}

function someoneElse() {
  return user.options[(user.selectedIndex + 1) % user.options.length].value;
}

user.addEventListener("change", chosen);
get("approve").addEventListener("click", () => decide("approve", user.value));
get("deny").addEventListener("click", () => decide("deny", user.value));
get("other").addEventListener("click", () => decide("approve", someoneElse()));
look();

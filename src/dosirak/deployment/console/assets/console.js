// What every page of the console does: asks for parts again when the control plane says that
// something changed, sends forms to the REST API, and the small things (theme, filter, copy).
// Text from elsewhere is set as text, never as markup; parts come escaped from the control plane.
"use strict";

const byId = (id) => document.getElementById(id);
// Says that this page means it; in a session it is the session's key, which no other origin has.
const KEY = "dosirak-session-key";
const ownHeader = () => ({ "X-Dosirak-Request": localStorage.getItem(KEY) ?? "1" });

// ---- parts of the page -------------------------------------------------------------------------

// New parts are morphed into the old ones, so that focus, selection, open details and what somebody
// is typing stay as they are.
const calmly = {
  morphStyle: "outerHTML",
  ignoreActiveValue: true,
  callbacks: {
    beforeNodeMorphed: (before, after) => {
      const kept = before.nodeType === Node.ELEMENT_NODE && before.dataset.keep;
      return !(kept && after.dataset?.keep === kept && before.dataset.touched);
    },
    beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
  },
};

htmx.defineExtension("calm", {
  isInlineSwap: (style) => style === "calm",
  handleSwap: (style, target, fragment) => {
    if (style !== "calm") return false;
    const part = fragment.firstElementChild ?? fragment;
    // A form that is refreshed says the generation that its reader now sees.
    const generation = part.dataset?.generation;
    if (generation)
      for (const form of target.querySelectorAll("form[data-generation]")) form.dataset.generation = generation;
    Idiomorph.morph(target, part, calmly);
    return [target];
  },
});

document.addEventListener("input", (event) => {
  const kept = event.target.closest("[data-keep]");
  if (kept) kept.dataset.touched = "yes";
  const shown = event.target.dataset.shown;
  if (shown) byId(shown).textContent = `${event.target.value} %`;
});

// ---- live --------------------------------------------------------------------------------------

const live = {
  source: null,
  start() {
    const deployment = document.body.dataset.live;
    if (deployment === undefined || this.source) return;
    this.source = new EventSource(`/live?deployment=${encodeURIComponent(deployment)}`);
    this.source.onopen = () => this.say("live");
    this.source.onerror = () => this.say("reconnecting");
    for (const kind of ["changed", "tick"])
      this.source.addEventListener(kind, () => htmx.trigger(document.body, kind));
  },
  // Browsers open few connections to one host: a page that nobody sees holds none.
  stop() {
    this.source?.close();
    this.source = null;
    this.say("paused");
  },
  say(word) {
    const shown = byId("live");
    if (!shown) return;
    if (shown.textContent !== word) shown.textContent = word;
    shown.dataset.state = word;
  },
};
document.addEventListener("visibilitychange", () => (document.hidden ? live.stop() : live.start()));
window.addEventListener("pagehide", () => live.stop());
window.addEventListener("pageshow", () => live.start());

async function refreshNumbers() {
  const rows = [...document.querySelectorAll("#deployments tr[data-name]")];
  if (!rows.length) return;
  const response = await fetch("/traffic");
  if (!response.ok) return;
  const all = new Map(Object.entries(await response.json()));
  for (const row of rows) {
    const numbers = all.get(row.dataset.name);
    if (!numbers) continue;
    for (const cell of row.querySelectorAll("[data-number]"))
      if (cell.textContent !== numbers[cell.dataset.number]) cell.textContent = numbers[cell.dataset.number];
    row.querySelector("[data-number=errors]").classList.toggle("failing", numbers.failing);
    row.querySelector("polyline").setAttribute("points", numbers.spark);
  }
}
if (byId("deployments")) document.body.addEventListener("tick", refreshNumbers);

// ---- forms -------------------------------------------------------------------------------------

function tell(text, bad) {
  const line = document.createElement("p");
  line.className = bad ? "toast bad" : "toast good";
  line.textContent = text;
  byId("told").replaceChildren(line);
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => line.remove(), bad ? 12000 : 4000);
}

function confirmed(text, typed) {
  const dialog = byId("confirm");
  const input = byId("confirm-name");
  byId("confirm-text").textContent = text;
  byId("confirm-typing").hidden = !typed;
  input.value = "";
  byId("confirm-yes").disabled = Boolean(typed);
  input.oninput = () => { byId("confirm-yes").disabled = input.value !== typed; };
  dialog.returnValue = "no";
  dialog.showModal();
  (typed ? input : byId("confirm-yes")).focus();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
  });
}

function valuesOf(form) {
  const values = {};
  for (const input of form.querySelectorAll("[name]"))
    values[input.name] = input.dataset.type === "number" ? Number(input.value)
      : input.dataset.type === "list" ? input.value.split(/[\s,]+/).filter(Boolean) : input.value;
  return values;
}

async function problemOf(response) {
  try {
    const problem = await response.json();
    const fields = (problem.fields ?? []).map((one) => `${one.field}: ${one.reason}.`);
    return [problem.error, ...fields, problem.remedy].filter(Boolean).join(" ");
  } catch {
    return `The control plane answered ${response.status}.`;
  }
}

async function sendForm(form) {
  const { post, method, generation, confirm, typed, then } = form.dataset;
  if (confirm && !(await confirmed(confirm, typed))) return;
  const values = valuesOf(form);
  const headers = { ...ownHeader(), "Content-Type": "application/json" };
  if (generation) headers["If-Match"] = `"${form.dataset.generation}"`;
  const address = post.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(values[name]));
  for (const [, name] of post.matchAll(/\{(\w+)\}/g)) delete values[name];
  const body = method === "DELETE" ? undefined : JSON.stringify(values);
  let response;
  try {
    response = await fetch(address, { method: method ?? "POST", headers, body });
  } catch {
    tell("The control plane could not be reached.", true);
    return;
  }
  if (!response.ok) {
    tell(await problemOf(response), true);
    return;
  }
  const answer = await response.json().catch(() => ({}));
  delete form.dataset.touched;
  if (post === "/login" || post === "/logout") {
    if (answer.key) localStorage.setItem(KEY, answer.key);
    else localStorage.removeItem(KEY);
    location.assign(answer.to);
  }
  else if (form.dataset.once) showOnce(form, answer);
  else if (then) location.assign(then.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(answer[name] ?? "")));
  else {
    tell("Done.");
    htmx.trigger(document.body, "changed");
  }
}

// What is shown once and never again: a new token.
function showOnce(form, answer) {
  const shown = byId(form.dataset.once);
  shown.hidden = false;
  shown.querySelector("code").textContent = answer.token;
  shown.querySelector("[data-copy]").dataset.copy = answer.token;
  form.reset();
  htmx.trigger(document.body, "changed");
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.post) return;
  event.preventDefault();
  const buttons = [...form.querySelectorAll("button")];
  if (form.dataset.sending) return;
  form.dataset.sending = "yes";
  try {
    await sendForm(form);
  } finally {
    delete form.dataset.sending;
    buttons[0]?.focus({ preventScroll: true });
  }
});

// ---- the small things --------------------------------------------------------------------------

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    tell("The browser does not allow to copy here. Select the text.", true);
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});

function applyFilter() {
  const input = byId("filter");
  if (!input) return;
  const wanted = input.value.trim().toLowerCase();
  const rows = [...document.querySelectorAll(input.dataset.filter)];
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  byId("filter-none").hidden = !rows.length || rows.some((row) => !row.hidden);
}
byId("filter")?.addEventListener("input", applyFilter);

const SPANS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
function ago(date) {
  const elapsed = (Date.now() - date) / 1000;
  if (Math.abs(elapsed) < 5) return "just now";
  const [length, unit] = SPANS.find(([size]) => Math.abs(elapsed) >= size);
  const span = `${Math.floor(Math.abs(elapsed) / length)} ${unit}`;
  return elapsed > 0 ? `${span} ago` : `in ${span}`;
}
function refreshTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const text = ago(new Date(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}
setInterval(refreshTimes, 5000);
document.body.addEventListener("htmx:afterSwap", () => {
  refreshTimes();
  applyFilter();
});

const THEMES = ["auto", "light", "dark"];
function showTheme() {
  const chosen = document.documentElement.dataset.theme ?? "auto";
  byId("theme").textContent = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[chosen];
  byId("theme").setAttribute("aria-label", `Theme: ${chosen}`);
}
byId("theme").addEventListener("click", () => {
  const before = document.documentElement.dataset.theme ?? "auto";
  const next = THEMES[(THEMES.indexOf(before) + 1) % THEMES.length];
  if (next === "auto") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem("dosirak-theme");
  } else {
    document.documentElement.dataset.theme = next;
    localStorage.setItem("dosirak-theme", next);
  }
  showTheme();
  document.dispatchEvent(new Event("themechange"));
});
showTheme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));

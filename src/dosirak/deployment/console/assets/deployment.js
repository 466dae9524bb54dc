// The page of one deployment: charts, logs that go on, and the forms to try its apis.
"use strict";

const deploymentName = document.body.dataset.live;
const deploymentPath = encodeURIComponent(deploymentName);

// ---- charts ------------------------------------------------------------------------------------

trafficCharts.begin(deploymentName, byId("charts"));
const chosenCharts = () => trafficCharts.choose(byId("chart-span").value, byId("chart-revision").value);
byId("chart-span").addEventListener("change", () => {
  byId("chart-revision").disabled = byId("chart-span").value !== "";
  if (byId("chart-revision").disabled) byId("chart-revision").value = "";
  chosenCharts();
});
byId("chart-revision").addEventListener("change", chosenCharts);

async function refreshSummary() {
  const { at, columns, revision, span } = trafficCharts;
  if (!at.length || revision || span) return;
  const last = at.length - 1;
  const requests = columns.requests_per_s[last];
  const errors = columns.errors_per_s[last];
  const p95 = columns.p95_ms[last];
  const say = (name, text) => {
    const shown = document.querySelector(`[data-now=${name}]`);
    if (shown && shown.textContent !== text) shown.textContent = text;
  };
  say("requests", shortNumber(requests));
  say("errors", requests ? `${shortNumber((100 * errors) / requests)} %` : "–");
  say("p95", p95 === null ? "–" : `${shortNumber(p95)} ms`);
}
document.body.addEventListener("tick", async () => {
  await trafficCharts.tick();
  refreshSummary();
});

// ---- choices that follow the tables ------------------------------------------------------------

function fill(select, options) {
  const before = select.value;
  const same = select.options.length === options.length
    && options.every(([value, title], index) => select.options[index].value === value && select.options[index].text === title);
  if (same) return;
  select.replaceChildren(...options.map(([value, title]) => new Option(title, value)));
  if (options.some(([value]) => value === before)) select.value = before;
}

function refreshChoices() {
  const revisions = [...document.querySelectorAll("#revisions [data-revision]")].map((row) => [row.dataset.revision, `Revision ${row.dataset.revision}`]);
  const replicas = [...document.querySelectorAll("#replicas-part [data-replica]")].map((row) => [row.dataset.replica, row.dataset.title]);
  fill(byId("chart-revision"), [["", "All revisions"], ...revisions]);
  fill(byId("try-revision"), [["", "By the weights"], ...revisions]);
  fill(byId("log-replica"), [["", "The newest replica"], ...replicas]);
}
document.body.addEventListener("htmx:afterSwap", refreshChoices);
refreshChoices();

// ---- logs --------------------------------------------------------------------------------------

const MOST_CHARACTERS = 400000;
const log = {
  reading: null,

  async start() {
    this.stop();
    const reading = (this.reading = new AbortController());
    const shown = byId("log");
    shown.textContent = "";
    const query = new URLSearchParams({ replica: byId("log-replica").value, follow: String(byId("log-follow").checked), lines: "300" });
    try {
      const response = await fetch(`/api/v1/deployments/${deploymentPath}/logs?${query}`, { signal: reading.signal });
      if (!response.ok) {
        shown.textContent = await problemOf(response);
        return;
      }
      const lines = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await lines.read();
        if (done || reading.signal.aborted) break;
        this.add(shown, value);
      }
      if (!shown.textContent) shown.textContent = "Nothing was written yet.";
    } catch (error) {
      if (error.name !== "AbortError") this.add(shown, "\n(the log broke off; choose the replica again)\n");
    }
  },

  add(shown, text) {
    const atEnd = shown.scrollTop + shown.clientHeight >= shown.scrollHeight - 8;
    shown.append(text);
    while (shown.textContent.length > MOST_CHARACTERS && shown.firstChild !== shown.lastChild) shown.firstChild.remove();
    if (atEnd) shown.scrollTop = shown.scrollHeight;
  },

  stop() {
    this.reading?.abort();
    this.reading = null;
  },
};
byId("log-replica").addEventListener("change", () => log.start());
byId("log-follow").addEventListener("change", () => log.start());
document.addEventListener("visibilitychange", () => (document.hidden ? log.stop() : log.start()));
window.addEventListener("pagehide", () => log.stop());
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-show-log]");
  if (!button) return;
  byId("log-replica").value = button.dataset.showLog;
  log.start();
  byId("log").focus();
});
log.start();

// ---- try it ------------------------------------------------------------------------------------

const tryPlace = {
  base: `/try/${deploymentPath}`,
  address: () => byId("apis").dataset.address,
  needsToken: () => !byId("try-credential").hidden,
  headers() {
    const token = byId("try-token").value.trim();
    const revision = byId("try-revision").value;
    return {
      ...ownHeader(),
      ...(token ? { "X-Dosirak-Try-Token": token } : {}),
      ...(revision ? { "X-Dosirak-Revision": revision } : {}),
    };
  },
};

async function loadForms() {
  const holder = byId("apis");
  const revision = byId("try-revision").value;
  const response = await fetch(`/fragments/deployments/${deploymentPath}/schema${revision ? `?revision=${revision}` : ""}`);
  if (!response.ok) {
    holder.replaceChildren(apiForms.make("p", { class: "soft" }, "The schema of this bundle cannot be read: it may have been deleted."));
    return;
  }
  const schema = await response.json();
  const forms = schema.apis.map((api, index) => apiForms.makeApi(tryPlace, api, index === 0));
  holder.replaceChildren(...(forms.length ? forms : [apiForms.make("p", { class: "soft" }, "It has no endpoints.")]));
}
byId("try-revision").addEventListener("change", loadForms);
loadForms();

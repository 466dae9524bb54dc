// The page to try a service: one form per endpoint, made from /schema.json.
"use strict";

const byId = (id) => document.getElementById(id);
// Where the service is: a proxy may have it under a path of its own.
const base = new URL(document.currentScript.src).pathname.replace(/\/-\/try\.js$/, "");
let token = "";

function credentials() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

const place = {
  base,
  address: () => location.origin + base,
  headers: credentials,
  needsToken: () => token !== "",
};

async function showHealth() {
  const state = byId("state");
  try {
    const response = await fetch(`${base}/readyz`);
    const { reason } = await response.json();
    state.textContent = reason;
    state.className = `state ${response.ok ? "ready" : "unready"}`;
  } catch {
    state.textContent = "The service cannot be reached.";
    state.className = "state unready";
  }
}

async function load() {
  const response = await fetch(`${base}/schema.json`, { headers: credentials() });
  byId("credential").hidden = response.status !== 401;
  if (response.status === 401) {
    byId("refused").textContent = token ? "The service refused this token." : "";
    byId("token").focus();
    return;
  }
  const schema = await response.json();
  document.title = `${schema.name} · dosirak`;
  byId("name").textContent = schema.name;
  byId("doc").textContent = schema.doc;
  byId("doc").hidden = !schema.doc;
  byId("apis").replaceChildren(...schema.apis.map((api, index) => apiForms.makeApi(place, api, index === 0 || schema.apis.length <= 3)));
}

byId("credential").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  load();
});
showHealth();
setInterval(showHealth, 10000);
load();

// Forms to try apis: one for each, made from their schema. No framework, nothing from elsewhere; all
// text from a service is set as text, never as markup. The page of `dosirak serve` and the platform's
// console both use them. A `place` says where requests go:
//   base: put before each route · address(): the origin that `curl` is given
//   headers(): sent with each request · needsToken(): whether `curl` needs one
"use strict";

const apiForms = (() => {
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (typeof value === "boolean") element.toggleAttribute(name, value);
      else element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  // ---- schemas -----------------------------------------------------------------------------------

  function typeOf(schema) {
    const nullable = schema.anyOf?.filter((option) => option.type !== "null");
    if (nullable?.length === 1) return typeOf(nullable[0]);
    if (schema.enum) return "choice";
    return schema["x-dosirak-type"] ?? (Array.isArray(schema.type) ? schema.type[0] : schema.type) ?? "any";
  }

  function unwrapped(schema) {
    const options = schema.anyOf?.filter((option) => option.type !== "null");
    return options?.length === 1 ? { ...options[0], default: schema.default } : schema;
  }

  function isFile(schema) {
    return (
      ["file", "image", "path", "bytes"].includes(schema["x-dosirak-type"]) ||
      schema.contentEncoding === "base64"
    );
  }

  function exampleOf(schema, depth = 0) {
    if (schema.default !== undefined) return schema.default;
    if (schema.examples?.length) return schema.examples[0];
    if (schema.const !== undefined) return schema.const;
    if (schema.enum) return schema.enum[0];
    const options = schema.anyOf ?? schema.oneOf;
    if (options) return exampleOf(options.find((option) => option.type !== "null") ?? {}, depth);
    const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
    if (depth > 6) return null;
    switch (type) {
      case "integer": return Math.ceil(schema.minimum ?? 1);
      case "number": return schema.minimum ?? 1.5;
      case "boolean": return true;
      case "null": return null;
      case "string": return isFile(schema) ? "" : "text";
      case "array": return exampleArray(schema, depth);
      case "object": return exampleObject(schema, depth);
      // A value of any kind: most models take numbers.
      default: return 1.5;
    }
  }

  function exampleArray(schema, depth) {
    if (schema.prefixItems) return schema.prefixItems.map((item) => exampleOf(item, depth + 1));
    const shape = schema["x-dosirak-shape"];
    if (shape) return exampleTensor(shape, schema["x-dosirak-dtype"] ?? "");
    if (!schema.items) return [1.0, 2.0];
    if (schema["x-dosirak-type"] === "table" && !schema.items.properties) return [{ column: 1.5 }];
    const count = Math.max(1, schema.minItems ?? 1);
    return Array.from({ length: count }, () => exampleOf(schema.items, depth + 1));
  }

  function exampleTensor([size, ...rest], dtype) {
    const count = Math.min(size ?? 2, 8);
    const value = dtype.startsWith("float") || !dtype ? 1.5 : 1;
    return Array.from({ length: count }, () => (rest.length ? exampleTensor(rest, dtype) : value));
  }

  function exampleObject(schema, depth) {
    const entries = Object.entries(schema.properties ?? {});
    if (!entries.length && typeof schema.additionalProperties === "object")
      return { key: exampleOf(schema.additionalProperties, depth + 1) };
    return Object.fromEntries(entries.map(([name, inner]) => [name, exampleOf(inner, depth + 1)]));
  }

  function bodyExample(api) {
    if (api.parameters.length === 1 && api.parameters[0].root) return exampleOf(api.parameters[0].schema);
    return Object.fromEntries(
      api.parameters.map((p) => [p.name, p.default !== undefined ? p.default : exampleOf(p.schema)]),
    );
  }

  const pretty = (value) => {
    const text = JSON.stringify(value);
    return text.length <= 80 ? text : JSON.stringify(value, null, 2);
  };

  // ---- fields ------------------------------------------------------------------------------------

  // Each field reads itself: undefined when it is left empty, a File for a file.
  function makeField(api, parameter) {
    const schema = unwrapped(parameter.schema);
    const id = `${api.name}-${parameter.name}`;
    const start = parameter.default !== undefined ? parameter.default : exampleOf(schema);
    const { input, read } = makeInput(schema, id, start, parameter);
    const label = make("label", { for: id }, parameter.name);
    const type = make("span", { class: "type" }, typeOf(parameter.schema) + (parameter.required ? "" : ", optional"));
    const hint = schema.description ? make("p", { class: "hint" }, schema.description) : null;
    return { name: parameter.name, root: parameter.root, read, element: make("div", { class: "field" }, label, type, input, hint) };
  }

  function makeInput(schema, id, start, parameter) {
    if (isFile(schema)) {
      const input = make("input", { id, type: "file" });
      if (schema.contentMediaType) input.accept = schema.contentMediaType;
      return { input, read: () => input.files[0] };
    }
    if (schema.enum) return makeSelect(schema, id, start);
    const type = typeOf(schema);
    if (type === "boolean") {
      const input = make("input", { id, type: "checkbox" });
      input.checked = Boolean(start);
      return { input, read: () => input.checked };
    }
    if (type === "integer" || type === "number") {
      const input = make("input", { id, type: "number", step: type === "integer" ? "1" : "any", required: parameter.required });
      if (start !== null) input.value = start;
      return { input, read: () => (input.value === "" ? undefined : Number(input.value)) };
    }
    if (type === "string") {
      const input = make("textarea", { id, rows: "2" });
      input.value = start ?? "";
      return { input, read: () => (input.value === "" && !parameter.required ? undefined : input.value) };
    }
    return makeJsonInput(id, start, parameter);
  }

  function makeSelect(schema, id, start) {
    const input = make("select", { id }, ...schema.enum.map((value) => make("option", {}, String(value))));
    input.selectedIndex = Math.max(0, schema.enum.indexOf(start));
    return { input, read: () => schema.enum[input.selectedIndex] };
  }

  function makeJsonInput(id, start, parameter) {
    const text = pretty(start);
    const input = make("textarea", { id, rows: String(Math.min(12, Math.max(2, text.split("\n").length))), spellcheck: "false" });
    input.value = text;
    const read = () => {
      if (input.value.trim() === "") return undefined;
      try {
        return JSON.parse(input.value);
      } catch (error) {
        throw new Error(`${parameter.name} is not JSON: ${error.message}`);
      }
    };
    return { input, read };
  }

  // ---- requests ----------------------------------------------------------------------------------

  function requestFromFields(api, fields) {
    const values = fields.map((field) => [field, field.read()]).filter(([, value]) => value !== undefined);
    const files = values.filter(([, value]) => value instanceof File);
    if (!files.length) {
      const root = values.length === 1 && values[0][0].root;
      const body = root ? values[0][1] : Object.fromEntries(values.map(([field, value]) => [field.name, value]));
      return { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
    }
    if (values.length === 1 && (files[0][0].root || !api.request_media_types.includes("multipart/form-data")))
      return { body: files[0][1], headers: { "Content-Type": files[0][1].type || "application/octet-stream" } };
    const form = new FormData();
    for (const [field, value] of values)
      form.append(field.name, value instanceof File || typeof value === "string" ? value : JSON.stringify(value));
    return { body: form, headers: {} };
  }

  function queryOf(fields) {
    const query = new URLSearchParams();
    for (const field of fields) {
      const value = field.read();
      if (value !== undefined) query.set(field.name, typeof value === "string" ? value : JSON.stringify(value));
    }
    return query.size ? `?${query}` : "";
  }

  async function send(place, api, prepared, output, signal) {
    const method = api.kind === "task" ? "POST" : api.methods[0];
    const path = api.kind === "task" ? `${api.route}/submit` : api.route;
    const began = performance.now();
    const response = await fetch(place.base + path + (prepared.query ?? ""), {
      method,
      body: method === "GET" ? undefined : prepared.body,
      headers: { ...prepared.headers, ...place.headers() },
      signal,
    });
    if (api.kind === "task" && response.ok) return followTask(place, api, await response.json(), output, began, signal);
    return show(response, output, began);
  }

  async function followTask(place, api, task, output, began, signal) {
    const route = place.base + api.route;
    const query = `?task_id=${encodeURIComponent(task.task_id)}`;
    signal.addEventListener("abort", () => fetch(`${route}/cancel${query}`, { method: "PUT", headers: place.headers() }));
    let waiting = 200;
    while (task.status === "in_progress") {
      output.facts(null, `task ${task.task_id} in progress`, began);
      await new Promise((resolve) => setTimeout(resolve, waiting));
      if (signal.aborted) throw new DOMException("cancelled", "AbortError");
      waiting = Math.min(2000, waiting * 1.5);
      task = await (await fetch(`${route}/status${query}`, { headers: place.headers(), signal })).json();
    }
    return show(await fetch(`${route}/get${query}`, { headers: place.headers(), signal }), output, began);
  }

  async function show(response, output, began) {
    const type = response.headers.get("Content-Type") ?? "";
    output.facts(response, "", began);
    if (/^text\/event-stream|ndjson/.test(type)) return showStream(response, output, began);
    if (/^image\//.test(type)) {
      const image = make("img", { alt: "The answer" });
      image.src = URL.createObjectURL(await response.blob());
      output.body(image);
    } else if (/json|^text\//.test(type)) {
      output.body(make("pre", { tabindex: "0" }, readable(await response.text(), type)));
    } else {
      const blob = await response.blob();
      const link = make("a", { download: "answer" }, `Save ${blob.size} bytes (${type || "unknown type"})`);
      link.href = URL.createObjectURL(blob);
      output.body(link);
    }
    output.facts(response, "", began);
  }

  function readable(text, type) {
    if (!type.includes("json")) return text;
    try {
      return pretty(JSON.parse(text));
    } catch {
      return text;
    }
  }

  async function showStream(response, output, began) {
    const pre = make("pre", { tabindex: "0" });
    output.body(pre);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      pre.append(value);
      pre.scrollTop = pre.scrollHeight;
    }
    output.facts(response, "", began);
  }

  // ---- the page ----------------------------------------------------------------------------------

  function makeOutput() {
    const facts = make("div", { class: "facts" });
    const body = make("div");
    const element = make("section", { class: "answer", "aria-live": "polite", "aria-label": "Answer", hidden: true }, facts, body);
    return {
      element,
      body: (content) => body.replaceChildren(content),
      facts(response, text, began) {
        element.hidden = false;
        const time = `${(performance.now() - began).toFixed(0)} ms`;
        facts.replaceChildren();
        if (response) {
          facts.append(
            make("span", { class: `status ${response.ok ? "good" : "bad"}` }, `${response.status} ${response.statusText}`),
            make("span", {}, time),
            make("span", {}, response.headers.get("Content-Type") ?? ""),
            make("span", {}, `request ${response.headers.get("X-Request-Id") ?? "?"}`),
          );
        } else facts.append(make("span", { class: "status" }, text), make("span", {}, time));
      },
      problem(text) {
        element.hidden = false;
        facts.replaceChildren(make("span", { class: "status bad" }, "Not sent"));
        body.replaceChildren(make("pre", {}, text));
      },
    };
  }

  function makeTabs(name, panels) {
    const buttons = Object.keys(panels).map((title, index) =>
      make("button", { type: "button", role: "tab", id: `${name}-tab-${index}`, "aria-controls": `${name}-panel-${index}` }, title));
    const all = Object.values(panels);
    all.forEach((panel, index) => {
      panel.id = `${name}-panel-${index}`;
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", `${name}-tab-${index}`);
    });
    const select = (chosen) => all.forEach((panel, index) => {
      panel.hidden = index !== chosen;
      buttons[index].setAttribute("aria-selected", String(index === chosen));
      buttons[index].tabIndex = index === chosen ? 0 : -1;
    });
    buttons.forEach((button, index) => {
      button.addEventListener("click", () => select(index));
      button.addEventListener("keydown", (event) => {
        if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
        const next = (index + 1) % buttons.length;
        select(next);
        buttons[next].focus();
      });
    });
    select(0);
    return { element: make("div", { class: "tabs", role: "tablist", "aria-label": "How to write the request" }, ...buttons), chosen: () => all.findIndex((panel) => !panel.hidden) };
  }

  function makeApi(place, api, open) {
    const fields = api.parameters.map((parameter) => makeField(api, parameter));
    const output = makeOutput();
    const isGet = api.kind !== "task" && api.methods[0] === "GET";
    const example = JSON.stringify(bodyExample(api), null, 2);
    const editor = make("textarea", { rows: String(Math.min(18, Math.max(4, example.split("\n").length))), spellcheck: "false", "aria-label": "JSON body" });
    editor.value = example;
    const formPanel = make("div", {}, ...(fields.length ? fields.map((field) => field.element) : [make("p", { class: "hint" }, "It takes no input.")]));
    const jsonPanel = make("div", { class: "field" }, editor);
    const tabs = fields.length && !isGet ? makeTabs(api.name, { Form: formPanel, JSON: jsonPanel }) : null;
    const button = make("button", { type: "submit" }, api.kind === "task" ? "Submit" : "Send");
    const cancel = make("button", { type: "button", class: "quiet", hidden: true }, "Cancel");

    const prepare = () => {
      if (isGet) return { query: queryOf(fields) };
      if (!fields.length) return { body: "{}", headers: { "Content-Type": "application/json" } };
      if (tabs?.chosen() === 1) {
        JSON.parse(editor.value);
        return { body: editor.value, headers: { "Content-Type": "application/json" } };
      }
      return requestFromFields(api, fields);
    };

    const submit = async (event) => {
      event.preventDefault();
      let prepared;
      try {
        prepared = prepare();
      } catch (error) {
        output.problem(error.message);
        return;
      }
      const controller = new AbortController();
      cancel.onclick = () => controller.abort();
      button.disabled = true;
      cancel.hidden = false;
      try {
        await send(place, api, prepared, output, controller.signal);
      } catch (error) {
        output.problem(error.name === "AbortError" ? "Cancelled." : `The service could not be reached: ${error.message}`);
      } finally {
        button.disabled = false;
        cancel.hidden = true;
      }
    };

    const copy = make("button", { type: "button", class: "quiet", onclick: () => copyCurl(place, api, editor.value, copy) }, "Copy as curl");
    const form = make("form", { onsubmit: submit, novalidate: true },
      tabs?.element, formPanel, tabs ? jsonPanel : null,
      make("div", { class: "actions" }, button, cancel, isGet ? null : copy));
    const [about, ...rest] = api.doc.split("\n");
    const summary = make("summary", {},
      make("span", { class: "badge" }, api.kind === "task" ? "TASK" : api.methods.join(" ")),
      make("h2", {}, api.route), make("span", { class: "about" }, about));
    const more = rest.join("\n").trim();
    return make("details", { class: "card", open },
      summary,
      make("div", { class: "inside" }, more ? make("p", { class: "doc" }, more) : null, form, output.element));
  }

  async function copyCurl(place, api, body, button) {
    const path = api.kind === "task" ? `${api.route}/submit` : api.route;
    const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const compact = (() => { try { return JSON.stringify(JSON.parse(body)); } catch { return body; } })();
    const secret = place.needsToken() ? ` -H 'Authorization: Bearer <token>'` : "";
    await navigator.clipboard.writeText(
      `curl ${quote(place.address() + path)} -H 'Content-Type: application/json'${secret} -d ${quote(compact)}`);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy as curl"; }, 1500);
  }

  return { make, makeApi };
})();

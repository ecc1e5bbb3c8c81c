// Making elements: text goes in as text only, so that no name of a file or class is ever taken for markup.

export function h(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const byId = (id) => document.getElementById(id);

export function toast(text, { bad = false, lasts = 4200 } = {}) {
  const made = h("div", { class: bad ? "toast bad" : "toast" }, text);
  byId("toasts").append(made);
  setTimeout(() => made.remove(), bad ? lasts * 2 : lasts);
}

// A question in a dialog; resolves to what `read` gives for the chosen button, or null.
export function ask(title, body, { yes = "OK", read = () => true, danger = false } = {}) {
  return new Promise((resolve) => {
    let answer = null;
    const form = h("form", { method: "dialog", class: "pad" }, h("h2", {}, title), body,
      h("div", { class: "row end" },
        h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        h("button", { class: danger ? "danger" : "primary" }, yes)));
    form.addEventListener("submit", () => { answer = read(); });
    const dialog = h("dialog", { "aria-label": title }, form);
    dialog.addEventListener("close", () => { dialog.remove(); resolve(answer); });
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector("input, select, textarea")?.select?.();
  });
}

export function tell(title, ...body) {
  const dialog = h("dialog", { "aria-label": title }, h("div", { class: "pad" }, h("h2", {}, title), ...body,
    h("div", { class: "row end" }, h("button", { class: "primary", onclick: () => dialog.close() }, "Close"))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

export const number = (value) => value.toLocaleString("en");
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export function clock(seconds) {
  const whole = Math.floor(seconds), hours = Math.floor(whole / 3600);
  const pad = (value) => String(value).padStart(2, "0");
  const minutes = hours ? pad(Math.floor(whole / 60) % 60) : Math.floor(whole / 60);
  return `${hours ? `${hours}:` : ""}${minutes}:${pad(whole % 60)}.${Math.floor((seconds % 1) * 10)}`;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied");
  } catch {
    tell("Copy this", h("pre", { class: "log" }, text));
  }
}

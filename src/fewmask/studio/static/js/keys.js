// Keyboard shortcuts: one list that is both what they do and what the help shows.

import { h, tell } from "./dom.js";

let active = [];

export function useKeys(list) { active = list; }

const typing = (target) => target.closest?.("input:not([type=range]):not([type=checkbox]), textarea, select, dialog");

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.altKey || typing(event.target)) return;
  if (event.key === "?") { showKeys(); return; }
  const key = `${event.ctrlKey || event.metaKey ? "ctrl+" : ""}${event.shiftKey && event.key.length > 1 ? "shift+" : ""}${event.key === " " ? "space" : event.key}`;
  if (key === "space" && event.target.closest("button, a")) return; // presses it
  const found = active.find((entry) => entry.keys.includes(key));
  if (!found) return;
  event.preventDefault();
  found.run(event);
});

export function showKeys() {
  const names = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", "shift+ArrowLeft": "⇧←", "shift+ArrowRight": "⇧→", Escape: "Esc", Delete: "Del", Enter: "⏎" };
  const rows = active.filter((entry) => entry.what).map((entry) => [
    h("span", {}, entry.keys.slice(0, 2).map((key) => [h("kbd", {}, names[key] || key.replace("ctrl+", "Ctrl ")), " "]).flat()), h("span", {}, entry.what)]);
  tell("Keyboard", rows.length ? h("div", { class: "keys" }, rows.flat()) : h("p", { class: "dim" }, "This page has no shortcuts of its own; Tab moves between its parts."));
}

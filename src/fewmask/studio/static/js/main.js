// Which page is shown: the address after # names it.

import { get } from "./api.js";
import { byId, h, toast } from "./dom.js";
import { showKeys, useKeys } from "./keys.js";

const PARTS = {
  library: () => import("./library.js"),
  run: () => import("./viewer.js"),
  examples: () => import("./examples.js"),
  review: () => import("./review.js"),
  pool: () => import("./pool.js"),
  jobs: () => import("./jobs.js"),
};

let leave = () => {};
let round = 0;

async function show() {
  const mine = ++round;
  const [part = "library", ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const name = PARTS[part] ? part : "library";
  for (const link of document.querySelectorAll(".top nav a")) {
    if (link.dataset.part === (name === "run" ? "library" : name)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  leave();
  leave = () => {};
  useKeys([]);
  const main = byId("main");
  main.replaceChildren(h("p", { class: "empty" }, "…"));
  document.title = "fewmask studio";
  try {
    const module = await PARTS[name]();
    const page = await module.page(rest, () => mine !== round);
    if (mine !== round) { page?.leave?.(); return; }
    leave = page.leave || leave;
    main.replaceChildren(page.root);
    page.shown?.();
  } catch (error) {
    if (mine === round) main.replaceChildren(h("div", { class: "empty" }, h("h2", {}, "This cannot be shown"), h("p", {}, error.message)));
    if (!error.status && error.status !== 0) throw error;
  }
}

const themes = matchMedia("(prefers-color-scheme: dark)");
function theme() {
  document.documentElement.dataset.theme = localStorage.getItem("theme") || (themes.matches ? "dark" : "light");
  dispatchEvent(new Event("theme"));
}
byId("theme").addEventListener("click", () => {
  localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  theme();
});
themes.addEventListener("change", theme);
theme();
byId("help").addEventListener("click", showKeys);

async function countJobs() {
  try {
    const { jobs } = await get("/api/jobs");
    const busy = jobs.filter((job) => job.status === "running" || job.status === "waiting").length;
    byId("jobs-count").hidden = busy === 0;
    byId("jobs-count").textContent = String(busy);
    dispatchEvent(new CustomEvent("jobs", { detail: jobs }));
  } catch { /* shown where it matters */ }
}
setInterval(() => { if (!document.hidden) countJobs(); }, 3000);
countJobs();

addEventListener("unhandledrejection", (event) => { if (event.reason?.status !== undefined) { toast(event.reason.message, { bad: true }); event.preventDefault(); } });
addEventListener("hashchange", show);
show();

// Jobs: start one, see how far it is, stop it, go on with it.

import { get, post } from "./api.js";
import { copy, h, toast } from "./dom.js";

const BADGES = { waiting: "", running: "busy", finished: "good", failed: "bad", cancelled: "warn", interrupted: "warn" };
const PLACES = { run: "run", dataset: "review", pool: "pool", video: "examples/video" };

export async function page([what, verb]) {
  if (what === "new") return form(verb);
  const root = h("div", { class: "page" }, h("div", { class: "page-head" }, h("h1", {}, "Jobs"), h("span", { class: "spacer" })));
  const { verbs } = await get("/api/verbs");
  root.firstChild.append(...verbs.map(({ name, what: about }) => h("button", { title: about, onclick: () => { location.hash = `#/jobs/new/${name}`; } }, title(name))),
    h("p", {}, "One after another. A job goes on when the studio is closed; what it wrote is never lost."));
  const list = h("div", { class: "stack", role: "list", "aria-label": "Jobs" });
  root.append(list);
  const cards = new Map();
  const show = (jobs) => {
    for (const job of jobs) {
      if (!cards.has(job.number)) cards.set(job.number, new Card(job.number));
      cards.get(job.number).update(job);
    }
    const wanted = jobs.map((job) => cards.get(job.number).root);
    if (wanted.length !== list.children.length || wanted.some((node, place) => list.children[place] !== node)) list.replaceChildren(...wanted);
    if (!jobs.length) list.replaceChildren(h("div", { class: "empty card" }, h("h2", {}, "No jobs yet"), h("p", {}, "Segment a video, index a pool, mine masks, or train on what you corrected.")));
  };
  const look = async () => { if (!document.hidden) try { show((await get("/api/jobs")).jobs); } catch { /* asked again */ } };
  await look();
  const timer = setInterval(look, 1000);
  return { root, leave: () => clearInterval(timer) };
}

const title = (name) => name[0].toUpperCase() + name.slice(1);

class Card {
  constructor(number) {
    this.number = number;
    this.badge = h("span", { class: "badge" });
    this.name = h("h2", {});
    this.bar = h("progress", { max: 1, value: 0, hidden: true });
    this.facts = h("span", { class: "dim tiny" });
    this.command = h("code", { class: "clip" });
    this.log = h("pre", { class: "log", tabindex: "0", "aria-label": "Log" });
    this.details = h("details", { ontoggle: () => this.readLog() }, h("summary", { class: "dim tiny" }, "Log"), this.log);
    this.buttons = h("span", { class: "row" });
    this.root = h("div", { class: "card pad stack", role: "listitem" },
      h("div", { class: "row" }, this.badge, this.name, h("span", { class: "spacer" }), this.buttons),
      this.bar, this.facts,
      h("div", { class: "line" }, this.command, h("button", { class: "small", "aria-label": "Copy the command", onclick: () => copy(this.job.command) }, "Copy")),
      this.details);
  }

  update(job) {
    const before = this.job;
    this.job = job;
    this.badge.className = `badge ${BADGES[job.status]}`;
    this.badge.textContent = job.status;
    this.name.textContent = `${job.number} · ${job.title}`;
    this.command.textContent = this.command.title = job.command;
    const { done, total, what, left_s: left, line } = job.progress;
    this.bar.hidden = job.status !== "running";
    if (total) this.bar.value = done / total; else this.bar.removeAttribute("value");
    const parts = [];
    if (job.status === "running" && done !== null) parts.push(`${done}${total ? ` of ${total}` : ""} ${what}`);
    if (job.status === "running" && left !== null) parts.push(`${spoken(left)} left`);
    if (job.ended && job.started) parts.push(`took ${spoken(job.ended - job.started)}`);
    if (job.status === "failed" || !parts.length) parts.push(line);
    this.facts.textContent = parts.filter(Boolean).join(" · ");
    if (!before || before.status !== job.status || JSON.stringify(before.made) !== JSON.stringify(job.made)) this.#showButtons();
    if (this.details.open && (job.status === "running" || before?.status === "running")) this.readLog();
  }

  async readLog() {
    if (!this.details.open) return;
    const atEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 8;
    try { this.log.textContent = (await get(`/api/jobs/${this.number}/log`)).log || "nothing printed yet"; } catch { return; }
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  #showButtons() {
    const { job } = this, act = (what) => async () => { try { this.update(await post(`/api/jobs/${job.number}/${what}`)); } catch (error) { toast(error.message, { bad: true }); } };
    this.buttons.replaceChildren(...[
      job.made && h("a", { href: `#/${PLACES[job.made.kind]}/${job.made.id}` }, h("button", { class: "small primary", tabindex: "-1" }, "Open")),
      (job.status === "running" || job.status === "waiting") && h("button", { class: "small danger", onclick: act("cancel") }, "Cancel"),
      job.resumable && h("button", { class: "small", onclick: act("resume") }, "Resume"),
    ].filter(Boolean));
  }
}

function spoken(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// A form made of the verb's questions.
async function form(name) {
  const [{ verbs, trained }, { things }] = await Promise.all([get("/api/verbs"), get("/api/library")]);
  const verb = verbs.find((one) => one.name === name) || verbs[0];
  const readers = {};
  const fields = verb.questions.map((question) => field(question, things, trained, readers));
  const root = h("div", { class: "page" }, h("div", { class: "page-head" }, h("h1", {}, title(verb.name)), h("p", {}, verb.what)),
    h("form", { class: "card pad stack", onsubmit: async (event) => {
      event.preventDefault();
      const answers = Object.fromEntries(Object.entries(readers).map(([key, read]) => [key, read()]));
      try { await post("/api/jobs", { verb: verb.name, answers }); location.hash = "#/jobs"; } catch (error) { toast(error.message, { bad: true }); }
    } }, fields, h("div", { class: "row" }, h("button", { class: "primary" }, "Start"), h("a", { href: "#/jobs" }, "Back"))));
  return { root };
}

function field(question, things, trained, readers) {
  const { name, label } = question;
  if (question.kind === "thing") {
    const some = things.filter((thing) => question.of.includes(thing.kind));
    if (question.many) {
      const boxes = some.map((thing) => h("input", { type: "checkbox", value: thing.id }));
      readers[name] = () => boxes.filter((box) => box.checked).map((box) => box.value);
      return h("fieldset", { class: "many" }, h("legend", { class: "dim" }, label, " ", h("button", { type: "button", class: "small", onclick: () => { const on = boxes.some((box) => !box.checked); for (const box of boxes) box.checked = on; } }, "all")),
        some.length ? some.map((thing, place) => h("label", { class: "inline" }, boxes[place], thing.title)) : h("span", { class: "dim" }, "none is open"));
    }
    const select = h("select", { required: true }, some.map((thing) => h("option", { value: thing.id }, thing.title)));
    readers[name] = () => select.value;
    return h("label", { class: "field" }, label, some.length ? select : h("span", {}, "none is open; start the studio with some"));
  }
  if (question.kind === "choice") {
    const select = h("select", {}, question.of.map((choice) => h("option", { value: choice, selected: choice === question.default }, choice)));
    readers[name] = () => select.value;
    return h("label", { class: "field" }, label, select);
  }
  const plain = question.kind === "number"
    ? h("input", { type: "number", value: String(question.default), min: String(question.low), max: String(question.high), step: "any" })
    : h("input", { type: "text", value: String(question.default ?? ""), maxlength: "100", list: name === "weights" ? "trained" : null });
  readers[name] = () => (question.kind === "number" ? Number(plain.value) : plain.value);
  return h("label", { class: "field" }, label, plain, name === "weights" && h("datalist", { id: "trained" }, ["small", ...trained].map((value) => h("option", { value }))));
}

// Watch a run and correct it.

import { get, getWhenReady, post } from "./api.js";
import { byId, clock, h, number, plural, toast } from "./dom.js";
import { corrections } from "./corrections.js";
import { icon } from "./icons.js";
import { useKeys } from "./keys.js";
import { Player } from "./player.js";
import { Masks, Times } from "./stores.js";
import { Timeline } from "./timeline.js";

const WATCH_OTHERS_MS = 4000;

export async function page([thing]) {
  const run = await getWhenReady(`/api/runs/${thing}`, ({ indexing }) => {
    byId("main").replaceChildren(h("div", { class: "empty" }, h("h2", {}, "Indexing this run"), h("p", {}, "Once; afterwards it opens at once."),
      h("div", { class: "row" }, h("progress", { max: 1, value: indexing, "aria-label": "Indexed" }))));
  });
  document.title = `${run.title} · fewmask studio`;
  const view = new Viewer(run, await Times.of(run.media, run.length));
  return { root: view.root, leave: () => view.destroy(), shown: () => view.player.seek(Number(sessionStorage.getItem(`at ${run.id}`)) || 0) };
}

class Viewer {
  constructor(run, times) {
    this.run = run;
    this.times = times;
    this.hidden = new Set();
    this.solo = null;
    this.selected = run.tracks[0]?.id ?? null;
    this.least = run.tracks.some((track) => track.score >= run.min_score) ? run.min_score : 0;
    this.masks = new Masks(run);
    this.player = new Player({ size: run.size, length: run.length, media: run.media, times, masks: this.masks, look: (index) => this.look(index) });
    this.timeline = new Timeline(run);
    this.fix = corrections(this);
    this.root = h("div", { class: "viewer" }, this.player.root, this.#bottom(), this.#side());
    this.hover = h("div", { class: "hover", hidden: true });
    this.player.root.append(this.hover, this.#corner());
    this.#listen();
    this.update(run);
    this.timeline.load();
    useKeys(this.#keys());
    this.watching = setInterval(() => this.#watchOthers(), WATCH_OTHERS_MS);
    window.studioViewer = this; // for the tests that measure
  }

  destroy() {
    clearInterval(this.watching);
    removeEventListener("theme", this.redraw);
    this.player.tool?.close();
    this.player.destroy();
    delete window.studioViewer;
  }

  track(id) { return this.run.tracks.find((track) => track.id === id); }

  // The tracks of the list: those sure enough, and those a person touched.
  listed() { return this.run.tracks.filter((track) => track.score >= this.least || track.drawn); }

  isHidden(id) { return this.solo !== null ? id !== this.solo : this.hidden.has(id); }

  look(index) {
    const ready = this.masks.ready(index);
    if (!ready) return null;
    const editing = this.player.tool?.track;
    return ready.flatMap(({ track, mask, counts }) => {
      const facts = this.track(track);
      if (!facts || this.isHidden(track) || track === editing || !(facts.score >= this.least || facts.drawn)) return [];
      return [{ track, mask, counts, color: facts.color, label: `#${track} ${facts.name}`, strong: track === this.selected }];
    });
  }

  select(id) {
    this.selected = id;
    this.player.changed();
    this.#list();
    this.tracks.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }

  // After a correction, here or elsewhere: what the server says now.
  update(state) {
    const old = this.run.version;
    Object.assign(this.run, state);
    if (!this.track(this.selected)) this.selected = this.listed()[0]?.id ?? null;
    this.#list();
    this.fix.state();
    if (this.run.version !== old) {
      this.player.revision += 1;
      this.timeline.load();
      if (!this.player.playing) this.player.seek(this.player.index);
      if (!this.history.hidden) this.#showHistory();
    }
  }

  async reload() { this.update(await get(`/api/runs/${this.run.id}`)); }

  async #watchOthers() {
    if (document.hidden || this.player.tool) return;
    try {
      const { version } = await get(`/api/runs/${this.run.id}/version`);
      if (version !== this.run.version && !this.fix.busy) { await this.reload(); toast("Changed in another tab; this is the new version"); }
    } catch { /* the next correction tells */ }
  }

  #listen() {
    const { player, timeline } = this;
    player.addEventListener("frame", () => this.#moved());
    player.addEventListener("shown", () => { sessionStorage.setItem(`at ${this.run.id}`, String(player.index)); this.#presence(); });
    player.addEventListener("playing", () => { this.playButton.replaceChildren(icon(player.playing ? "pause" : "play")); this.playButton.setAttribute("aria-label", player.playing ? "Pause" : "Play"); });
    player.addEventListener("trouble", ({ detail }) => toast(detail.message, { bad: true }));
    player.addEventListener("hover", ({ detail }) => this.#showHover(detail));
    player.addEventListener("pick", ({ detail }) => { const found = player.under(detail); if (this.fix.picking) this.fix.picked(found?.track ?? null); else if (found) this.select(found.track); });
    timeline.addEventListener("seek", ({ detail }) => { player.pause(); player.seek(detail); });
    timeline.addEventListener("pick", ({ detail }) => { if (this.fix.picking) this.fix.picked(detail); else this.select(detail); });
    this.redraw = () => { timeline.draw(); player.draw(); };
    addEventListener("theme", this.redraw);
  }

  #moved() {
    const { index } = this.player;
    this.timeline.move(index);
    this.time.textContent = `${clock(this.times.of(index))} / ${clock(this.times.of(this.run.length - 1))}`;
    if (document.activeElement !== this.jump) this.jump.value = String(index);
    this.fix.moved();
  }

  // Dim the tracks that are not in this frame.
  #presence() {
    const here = new Set((this.masks.ready(this.player.index) || []).map(({ track }) => track));
    for (const item of this.tracks.children) item.classList.toggle("absent", !here.has(Number(item.dataset.id)));
  }

  #showHover(event) {
    const found = event && !this.player.tool ? this.player.under(event) : null;
    this.hover.hidden = !found;
    this.player.canvas.style.cursor = found ? "pointer" : "";
    if (!found) return;
    const facts = this.track(found.track), box = this.player.root.getBoundingClientRect();
    this.hover.textContent = `#${facts.id} ${facts.name} · score ${facts.score.toFixed(2)} · ${number(found.mask.area)} px`;
    this.hover.style.left = `${Math.min(event.clientX - box.left + 14, box.width - 240)}px`;
    this.hover.style.top = `${event.clientY - box.top + 14}px`;
  }

  #corner() {
    return h("div", { class: "corner" }, h("a", { href: "#/" }, "Library"), h("span", { class: "clip", title: this.run.command.join(" ") }, this.run.title),
      !this.run.media && h("span", { class: "badge warn" }, "video not there"));
  }

  #bottom() {
    const { player, run } = this;
    const button = (text, label, run_) => h("button", { class: "small", "aria-label": label, title: label, onclick: run_ }, text);
    this.playButton = h("button", { class: "small primary", "aria-label": "Play", title: "Play (space)", onclick: () => player.toggle() }, icon("play"));
    this.time = h("span", { class: "time" });
    this.jump = h("input", { class: "jump", type: "number", min: "0", max: String(run.length - 1), "aria-label": "Frame",
      onchange: (event) => { player.pause(); player.seek(Number(event.target.value) || 0); } });
    const speed = h("select", { "aria-label": "Speed", onchange: (event) => { player.speed = Number(event.target.value); if (player.video) player.video.playbackRate = player.speed; } },
      [0.25, 0.5, 1, 2, 4].map((value) => h("option", { value: String(value), selected: value === 1 }, `${value}×`)));
    const opacity = h("input", { type: "range", min: "0", max: "0.9", step: "0.05", value: String(player.opacity), "aria-label": "Opacity of the masks", title: "Opacity of the masks",
      oninput: (event) => { player.opacity = Number(event.target.value); player.draw(); } });
    return h("div", { class: "bottom" },
      h("div", { class: "transport" },
        button(icon("first"), "First frame (Home)", () => player.seek(0)), button(icon("back"), "Frame before (←)", () => this.#step(-1)), this.playButton,
        button(icon("next"), "Next frame (→)", () => this.#step(1)), button(icon("last"), "Last frame (End)", () => player.seek(run.length - 1)),
        this.jump, h("span", { class: "dim tiny" }, `of ${number(run.length)}`), this.time, h("span", { class: "spacer" }), opacity,
        button("Aa", "Labels (l)", () => this.#labels()), button("−", "Zoom out (-)", () => player.zoomBy(1 / 1.4)), button("+", "Zoom in (+)", () => player.zoomBy(1.4)), button("Fit", "Whole picture (0)", () => player.fit()), speed),
      this.timeline.root);
  }

  #side() {
    this.tracks = h("ul", { class: "tracks", role: "listbox", "aria-label": "Tracks" });
    this.history = h("ol", { class: "history", hidden: true, "aria-label": "Corrections" });
    this.tabs = ["Tracks", "History"].map((name) => h("button", { role: "tab", "aria-selected": String(name === "Tracks"), onclick: () => this.#tab(name) }, name));
    this.counted = h("span", { class: "dim tiny" });
    const least = h("input", { type: "range", min: "0", max: "1", step: "0.01", value: String(this.least), "aria-label": "Least score", oninput: (event) => { this.least = Number(event.target.value); this.#list(); this.player.changed(); } });
    return h("aside", { class: "side", "aria-label": "Tracks and corrections" },
      h("div", { class: "side-head" }, h("div", { class: "tabs", role: "tablist" }, this.tabs), h("label", { class: "inline tiny" }, "score from", least, this.counted)),
      this.tracks, this.history, this.fix.root);
  }

  #tab(name) {
    for (const tab of this.tabs) tab.setAttribute("aria-selected", String(tab.textContent === name));
    this.tracks.hidden = name !== "Tracks";
    this.history.hidden = name === "Tracks";
    if (name === "History") this.#showHistory();
  }

  async #showHistory() {
    const steps = await get(`/api/runs/${this.run.id}/history`);
    this.history.replaceChildren(...steps.reverse().map((step) => h("li", { class: step.holds ? "" : "undone" }, h("span", {}, step.what),
      h("time", { class: "dim tiny", datetime: step.at }, new Date(step.at).toLocaleTimeString()))));
    if (!steps.length) this.history.replaceChildren(h("li", { class: "dim" }, "Nothing was corrected yet."));
  }

  #list() {
    const listed = this.listed();
    this.counted.textContent = `${this.least.toFixed(2)} · ${listed.length} of ${this.run.tracks.length}`;
    this.tracks.replaceChildren(...listed.map((track) => this.#item(track)));
    this.timeline.show(listed.map((track) => ({ ...track, hidden: this.isHidden(track.id) })), this.selected);
    this.#presence();
  }

  #item(track) {
    const flag = (text, label, pressed, act) => h("button", { "aria-label": `${label} track ${track.id}`, title: label, "aria-pressed": String(pressed), onclick: (event) => { event.stopPropagation(); act(); } }, icon(text));
    const dot = h("span", { class: "dot" });
    dot.style.background = `rgb(${track.color})`;
    return h("li", { class: `track${this.isHidden(track.id) ? " hidden" : ""}`, role: "option", "aria-selected": String(track.id === this.selected), "data-id": String(track.id),
      onclick: () => { if (this.fix.picking) this.fix.picked(track.id); else this.select(track.id); }, ondblclick: () => track.first !== null && this.player.seek(track.first) },
    dot, h("span", { class: "name" }, `#${track.id} ${track.name}`),
    h("span", { class: "facts" }, `score ${track.score.toFixed(2)} · ${plural(track.frames, "frame")}${track.frames ? ` · ${track.first}–${track.last}` : ""}`),
    h("span", { class: "buttons" }, flag("solo", "Solo", this.solo === track.id, () => this.#solo(track.id)), flag(this.isHidden(track.id) ? "hidden" : "eye", "Hide", this.hidden.has(track.id), () => this.#hide(track.id))));
  }

  #hide(id) { if (this.hidden.has(id)) this.hidden.delete(id); else this.hidden.add(id); this.#list(); this.player.changed(); }

  #solo(id) { this.solo = this.solo === id ? null : id; this.#list(); this.player.changed(); }

  #labels() { this.player.labels = !this.player.labels; this.player.draw(); }

  #step(by) { this.player.pause(); this.player.seek((this.player.wanted ?? this.player.index) + by); }

  #next(by) {
    const listed = this.listed(), at = listed.findIndex((track) => track.id === this.selected);
    if (listed.length) this.select(listed[(at + by + listed.length) % listed.length].id);
  }

  #edge(by) {
    const track = this.track(this.selected);
    if (track && track.first !== null) { this.player.pause(); this.player.seek(by < 0 ? track.first : track.last); }
  }

  #keys() {
    const key = (keys, what, run) => ({ keys, what, run: (event) => { if (this.player.tool && !keys.includes("space")) return; run(event); } });
    const { player } = this;
    return [
      ...this.fix.keys(),
      key(["space"], "play or pause", () => player.toggle()),
      key(["ArrowLeft"], "frame before", () => this.#step(-1)), key(["ArrowRight"], "next frame", () => this.#step(1)),
      key(["shift+ArrowLeft"], "ten frames back", () => this.#step(-10)), key(["shift+ArrowRight"], "ten frames on", () => this.#step(10)),
      key(["Home"], "first frame", () => player.seek(0)), key(["End"], "last frame", () => player.seek(this.run.length - 1)),
      key(["j", "ArrowDown"], "next track", () => this.#next(1)), key(["k", "ArrowUp"], "track before", () => this.#next(-1)),
      key([","], "first frame of the track", () => this.#edge(-1)), key(["."], "last frame of the track", () => this.#edge(1)),
      key(["h"], "hide the track", () => this.#hide(this.selected)), key(["o"], "show it alone", () => this.#solo(this.selected)),
      key(["l"], "labels", () => this.#labels()),
      key(["+", "="], "zoom in", () => player.zoomBy(1.4)), key(["-"], "zoom out", () => player.zoomBy(1 / 1.4)), key(["0"], "whole picture", () => player.fit()),
    ];
  }
}

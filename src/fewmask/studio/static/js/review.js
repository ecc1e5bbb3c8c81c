// Review mined tracks: large pictures, moving on hover, accepted and rejected by key, written back at once.

import { get, post } from "./api.js";
import { h, plural, toast } from "./dom.js";
import { useKeys } from "./keys.js";

const AT_ONCE = 60;

export async function page([thing]) {
  if (!thing) {
    const { things } = await get("/api/library");
    const some = things.filter((one) => one.kind === "dataset");
    if (some.length === 1) { location.replace(`#/review/${some[0].id}`); return { root: h("div") }; }
    return { root: h("div", { class: "page" }, h("div", { class: "page-head" }, h("h1", {}, "Review"), h("p", {}, "What mining found, to accept or reject.")),
      some.length ? h("div", { class: "grid" }, some.map((one) => h("a", { class: "tile card", href: `#/review/${one.id}` }, h("img", { class: "shot", src: `/api/library/${one.id}/cover.jpg`, alt: "" }), h("div", { class: "under" }, h("h3", {}, one.title)))))
        : h("div", { class: "empty card" }, h("h2", {}, "No mined dataset is open"), h("p", {}, "Mine masks from unlabelled videos first."), h("p", {}, h("a", { href: "#/jobs/new/mine" }, "Start mining")))) };
  }
  const review = new Review(await get(`/api/datasets/${thing}`));
  return { root: review.root, leave: () => {} };
}

class Review {
  constructor({ id, title, tracks }) {
    Object.assign(this, { id, tracks });
    this.at = 0;
    this.cards = new Map();
    this.undoable = [];
    const video = h("select", { "aria-label": "Video", onchange: () => this.show() }, h("option", { value: "" }, "all videos"), [...new Set(tracks.map((track) => track.video))].map((name) => h("option", { value: name }, name)));
    const state = h("select", { "aria-label": "Decision", onchange: () => this.show() }, [["", "all"], ["undecided", "undecided"], ["accepted", "accepted"], ["rejected", "rejected"]].map(([value, text]) => h("option", { value }, text)));
    const sort = h("select", { "aria-label": "Order", onchange: () => this.show() }, [["confidence", "doubtful first"], ["-confidence", "sure first"], ["-masks", "long first"], ["video", "by video"]].map(([value, text]) => h("option", { value }, text)));
    const least = h("input", { type: "range", min: "0", max: "1", step: "0.01", value: "0", "aria-label": "Least confidence", oninput: () => this.show() });
    Object.assign(this, { video, state, sort, least });
    this.counted = h("span", { class: "dim", role: "status" });
    this.grid = h("div", { class: "review-grid", role: "listbox", "aria-label": "Tracks" });
    this.more = h("button", { onclick: () => this.grow() }, "Show more");
    this.root = h("div", { class: "page wide" },
      h("div", { class: "page-head" }, h("h1", {}, title), h("span", { class: "spacer" }), h("button", { class: "primary", onclick: () => this.apply() }, "Write the reviewed dataset"),
        h("p", {}, "Every decision is saved at once. ", h("kbd", {}, "a"), " accepts, ", h("kbd", {}, "r"), " rejects, arrows move.")),
      h("div", { class: "row filters" }, video, state, sort, h("label", { class: "inline" }, "confidence from", least), h("button", { onclick: () => this.all("accepted") }, "Accept shown"), h("button", { onclick: () => this.all("rejected") }, "Reject shown"), this.counted),
      this.grid, h("div", { class: "row foot" }, this.more));
    useKeys([
      { keys: ["a"], what: "accept", run: () => this.decide("accepted") }, { keys: ["r"], what: "reject", run: () => this.decide("rejected") }, { keys: ["u", "ctrl+z"], what: "undo", run: () => this.undo() },
      { keys: ["ArrowRight", "j"], what: "next", run: () => this.move(1) }, { keys: ["ArrowLeft", "k"], what: "before", run: () => this.move(-1) },
      { keys: ["ArrowDown"], what: "row below", run: () => this.move(this.columns()) }, { keys: ["ArrowUp"], what: "row above", run: () => this.move(-this.columns()) },
    ]);
    this.show();
  }

  show() {
    const key = this.sort.value.replace("-", ""), sign = this.sort.value.startsWith("-") ? -1 : 1;
    this.shown = this.tracks.filter((track) => (!this.video.value || track.video === this.video.value) && (!this.state.value || track.state === this.state.value) && track.confidence >= Number(this.least.value));
    if (key !== "video") this.shown.sort((a, b) => sign * (a[key] - b[key]));
    this.grid.replaceChildren();
    this.at = 0;
    this.grow();
    if (!this.shown.length) this.grid.replaceChildren(h("p", { class: "empty" }, "No track passes the filter."));
    this.count();
    this.mark();
  }

  grow() {
    const have = this.grid.querySelectorAll(".mined").length;
    this.grid.append(...this.shown.slice(have, have + AT_ONCE).map((track) => this.card(track)));
    this.more.hidden = have + AT_ONCE >= this.shown.length;
  }

  card(track) {
    const key = `${track.video}/${track.track}`;
    if (this.cards.has(key)) return this.cards.get(key);
    const base = `/api/datasets/${this.id}/${encodeURIComponent(track.video)}/${track.track}`;
    const image = h("img", { src: `${base}/picture.jpg?width=640`, alt: `track ${track.track} of ${track.video}`, loading: "lazy" });
    const still = () => { image.src = `${base}/picture.jpg?width=640`; image.classList.remove("moving"); };
    const button = (state, text) => h("button", { class: `small ${state === "accepted" ? "yes" : "no"}`, "data-state": state, "aria-label": `${text} track ${track.track} of ${track.video}`, onclick: (event) => { event.stopPropagation(); this.at = this.shown.indexOf(track); this.decide(state); } }, text);
    const card = h("article", { class: "mined card", role: "option", tabindex: "-1", "data-key": key,
      onmouseenter: () => { image.src = `${base}/clip.webp?width=480`; image.classList.add("moving"); }, onmouseleave: still,
      onclick: () => { this.at = this.shown.indexOf(track); this.mark(); } }, image,
    h("div", { class: "under" }, h("div", { class: "row" }, h("h3", { class: "clip" }, `${track.video} · ${track.track}`), h("span", { class: "spacer" }), h("span", { class: "badge" }, track.confidence.toFixed(2))),
      h("p", { class: "dim tiny" }, `foreground ${track.foreground.toFixed(2)} · stability ${track.stability.toFixed(2)} · ${plural(track.masks, "mask")}, frames ${track.first}–${track.last}`),
      h("div", { class: "row" }, button("accepted", "Accept"), button("rejected", "Reject"))));
    this.cards.set(key, card);
    this.paint(track, card);
    return card;
  }

  paint(track, card = this.cards.get(`${track.video}/${track.track}`)) {
    if (!card) return;
    card.dataset.decision = track.state;
    for (const button of card.querySelectorAll("[data-state]")) button.setAttribute("aria-pressed", String(button.dataset.state === track.state));
  }

  columns() { return getComputedStyle(this.grid).gridTemplateColumns.split(" ").length; }

  move(by) {
    this.at = Math.max(0, Math.min(this.shown.length - 1, this.at + by));
    while (this.at >= this.grid.querySelectorAll(".mined").length && !this.more.hidden) this.grow();
    this.mark();
  }

  mark() {
    for (const card of this.grid.querySelectorAll("[aria-selected=true]")) card.setAttribute("aria-selected", "false");
    const track = this.shown[this.at], card = track && this.cards.get(`${track.video}/${track.track}`);
    card?.setAttribute("aria-selected", "true");
    card?.scrollIntoView({ block: "nearest" });
  }

  count() {
    const of = (state) => this.tracks.filter((track) => track.state === state).length;
    this.counted.textContent = `${this.shown.length} of ${this.tracks.length} shown · ${of("accepted")} accepted · ${of("rejected")} rejected`;
  }

  async send(changes) {
    try {
      await post(`/api/datasets/${this.id}/decisions`, { decisions: changes.map(([track, state]) => ({ video: track.video, track: track.track, state, was: track.state })) });
    } catch (error) {
      toast(error.message, { bad: true });
      if (error.status === 409) await this.reload();
      return false;
    }
    for (const [track, state] of changes) { track.state = state; this.paint(track); }
    this.count();
    return true;
  }

  // A second press takes the decision back.
  async decide(state) {
    const track = this.shown[this.at];
    if (!track) return;
    const before = track.state, wanted = before === state ? "undecided" : state;
    if (await this.send([[track, wanted]])) {
      this.undoable.push([[track, before]]);
      if (wanted !== "undecided") this.move(1); else this.mark();
    }
  }

  async all(state) {
    const changes = this.shown.filter((track) => track.state !== state).map((track) => [track, state]);
    const before = changes.map(([track]) => [track, track.state]);
    if (changes.length && await this.send(changes)) { this.undoable.push(before); toast(`${plural(changes.length, "track")} ${state}; u undoes`); }
  }

  async undo() { const last = this.undoable.pop(); if (last) await this.send(last); }

  async reload() {
    const fresh = new Map((await get(`/api/datasets/${this.id}`)).tracks.map((track) => [`${track.video}/${track.track}`, track.state]));
    for (const track of this.tracks) { track.state = fresh.get(`${track.video}/${track.track}`) ?? track.state; this.paint(track); }
    this.count();
  }

  async apply() {
    const accepted = this.tracks.some((track) => track.state === "accepted");
    const only = accepted && this.state.value === "accepted";
    try { await post(`/api/datasets/${this.id}/apply`, { only_accepted: only }); location.hash = "#/jobs"; } catch (error) { toast(error.message, { bad: true }); }
  }
}

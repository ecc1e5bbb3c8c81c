// Browse a pool: a map of its clips, the nearest ones of any of them, supports chosen by a click.

import { get, post } from "./api.js";
import { ask, h, plural, toast } from "./dom.js";

const SHADES = 12;

export async function page([thing, media, frame]) {
  const { things } = await get("/api/library");
  const pools = things.filter((one) => one.kind === "pool");
  if (!thing) {
    if (pools.length === 1) { location.replace(`#/pool/${pools[0].id}`); return { root: h("div") }; }
    return { root: h("div", { class: "page" }, h("div", { class: "page-head" }, h("h1", {}, "Pool"), h("p", {}, "Clips of unlabelled videos, and what resembles what.")),
      pools.length ? h("div", { class: "grid" }, pools.map((one) => h("a", { class: "tile card", href: `#/pool/${one.id}` }, h("div", { class: "under" }, h("h3", {}, one.title)))))
        : h("div", { class: "empty card" }, h("h2", {}, "No pool is open"), h("p", {}, "Index some videos first."), h("p", {}, h("a", { href: "#/jobs/new/index" }, "Index videos")))) };
  }
  const pool = new Pool(await get(`/api/pools/${thing}`), things.filter((one) => one.kind === "video"));
  if (media) pool.near({ media, frame: Number(frame) || 0 }, "this moment");
  return { root: pool.root, leave: () => pool.leave(), shown: () => pool.layout() };
}

class Pool {
  constructor(facts, videos) {
    this.facts = facts;
    this.videos = videos;
    this.chosen = new Map();
    this.canvas = h("canvas", { class: "map", tabindex: "0", role: "img", "aria-label": `Map of ${facts.clips.length} clips` });
    this.preview = h("div", { class: "preview card", hidden: true });
    this.found = h("div", { class: "clips" });
    this.heading = h("h2", {}, "Nearest clips");
    this.tray = h("div", { class: "tray card pad row", hidden: true });
    const moment = h("select", { "aria-label": "Video" }, videos.map((video) => h("option", { value: video.id }, video.title)));
    const at = h("input", { type: "number", min: "0", value: "0", "aria-label": "Frame" });
    this.root = h("div", { class: "page wide" }, h("div", { class: "page-head" }, h("h1", {}, facts.title), h("span", { class: "dim" }, `${plural(facts.length, "clip")} of ${plural(facts.videos.length, "video")}`), h("span", { class: "spacer" }),
      h("p", {}, "Clips that look alike lie close to one another; colours are videos. Click one to see its nearest.")),
    h("div", { class: "pool" }, h("div", { class: "card map-card" }, this.canvas, this.preview,
      videos.length > 0 && h("form", { class: "row pad", onsubmit: (event) => { event.preventDefault(); this.near({ media: moment.value, frame: Number(at.value) }, `${moment.selectedOptions[0].textContent}, frame ${at.value}`); } }, h("span", { class: "dim" }, "nearest to"), moment, h("label", { class: "inline" }, "frame", at), h("button", {}, "Look"))),
    h("div", { class: "stack" }, this.heading, this.found)), this.tray);
    this.#watch();
    this.redraw = () => this.draw();
    addEventListener("theme", this.redraw);
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(this.canvas.parentElement ?? this.canvas);
    if (facts.clips.length && !location.hash.split("/")[3]) this.near({ clip: this.id(facts.clips[0]) }, this.titleOf(facts.clips[0]));
    else if (!facts.clips.length) this.found.append(h("p", { class: "dim" }, "The pool is empty."));
  }

  leave() { this.observer.disconnect(); removeEventListener("theme", this.redraw); }

  id([video, first, last]) { return `${this.facts.videos[video].id}#${first}-${last}`; }

  titleOf([video, first, last]) { return `${this.facts.videos[video].title} ${first}–${last}`; }

  layout() {
    const ratio = devicePixelRatio, width = this.canvas.parentElement.clientWidth, height = Math.min(560, Math.max(320, window.innerHeight - 330));
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.draw();
  }

  place([, , , x, y]) {
    const ratio = devicePixelRatio, margin = 22;
    return [margin + x * (this.canvas.width / ratio - 2 * margin), margin + y * (this.canvas.height / ratio - 2 * margin)];
  }

  draw() {
    const context = this.canvas.getContext("2d"), ratio = devicePixelRatio, dark = document.documentElement.dataset.theme === "dark";
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const near = new Set((this.nearest || []).map((clip) => clip.id));
    for (const clip of this.facts.clips) {
      const [x, y] = this.place(clip), id = this.id(clip), hue = Math.round(360 * (clip[0] * 0.618034 % 1)), light = (dark ? 62 : 46) + 8 * (Math.floor(clip[0] / SHADES) % 2);
      context.globalAlpha = near.size && !near.has(id) ? 0.35 : 1;
      context.fillStyle = `hsl(${hue} 65% ${light}%)`;
      context.beginPath();
      context.arc(x, y, near.has(id) ? 7 : 5, 0, 7);
      context.fill();
      if (this.chosen.has(id) || clip === this.hovered || id === this.asked) {
        context.lineWidth = 2.5;
        context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue(this.chosen.has(id) ? "--yes" : "--ink");
        context.stroke();
      }
    }
    context.globalAlpha = 1;
  }

  #watch() {
    const under = (event) => {
      const box = this.canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      let best = null, least = 14;
      for (const clip of this.facts.clips) { const [left, top] = this.place(clip), away = Math.hypot(left - x, top - y); if (away < least) { least = away; best = clip; } }
      return best;
    };
    this.canvas.addEventListener("pointermove", (event) => {
      const clip = under(event);
      this.canvas.style.cursor = clip ? "pointer" : "";
      if (clip === this.hovered) return;
      this.hovered = clip;
      this.draw();
      this.preview.hidden = !clip;
      if (!clip) return;
      const video = this.facts.videos[clip[0]];
      this.preview.replaceChildren(video.media ? h("img", { src: moving({ ...video, first: clip[1], last: clip[2] }), alt: "" }) : h("p", { class: "pad dim" }, "the video is gone"), h("p", { class: "tiny under clip" }, this.titleOf(clip)));
    });
    this.canvas.addEventListener("pointerleave", () => { this.hovered = null; this.preview.hidden = true; this.draw(); });
    this.canvas.addEventListener("click", (event) => { const clip = under(event); if (clip) this.near({ clip: this.id(clip) }, this.titleOf(clip)); });
  }

  async near(query, title) {
    this.heading.textContent = `Nearest to ${title}`;
    this.asked = query.clip;
    this.found.replaceChildren(h("p", { class: "dim" }, query.media ? "Looking; the first time the encoder is loaded …" : "Looking …"));
    try {
      this.nearest = (await post(`/api/pools/${this.facts.id}/nearest`, query)).clips;
    } catch (error) {
      this.found.replaceChildren(h("p", { class: "dim" }, error.message));
      return;
    }
    this.found.replaceChildren(...this.nearest.map((clip) => this.#tile(clip)));
    this.draw();
  }

  #tile(clip) {
    const pressed = () => this.chosen.has(clip.id);
    const choose = h("button", { class: "small yes", "aria-pressed": String(pressed()), "aria-label": `Choose ${clip.title} ${clip.first}–${clip.last}`, onclick: () => {
      if (pressed()) this.chosen.delete(clip.id); else this.chosen.set(clip.id, clip);
      choose.setAttribute("aria-pressed", String(pressed()));
      choose.textContent = pressed() ? "Chosen" : "Choose";
      this.#showTray();
      this.draw();
    } }, pressed() ? "Chosen" : "Choose");
    return h("article", { class: "tile card" }, clip.media ? h("img", { class: "shot", src: moving(clip), alt: `${clip.title}, frames ${clip.first} to ${clip.last}`, loading: "lazy" }) : h("div", { class: "shot" }),
      h("div", { class: "under" }, h("h3", { title: clip.title }, clip.title), h("p", { class: "dim tiny" }, `frames ${clip.first}–${clip.last} · ${clip.score.toFixed(3)}`),
        h("div", { class: "row" }, choose, h("button", { class: "small", onclick: () => this.near({ clip: clip.id }, `${clip.title} ${clip.first}–${clip.last}`) }, "Nearest"))));
  }

  #showTray() {
    this.tray.hidden = this.chosen.size === 0;
    this.tray.replaceChildren(h("strong", {}, `${plural(this.chosen.size, "support")} chosen`), h("span", { class: "dim clip" }, [...this.chosen.values()].map((clip) => clip.title).join(", ")), h("span", { class: "spacer" }),
      h("button", { onclick: () => { this.chosen.clear(); this.#showTray(); this.found.replaceChildren(...(this.nearest || []).map((clip) => this.#tile(clip))); this.draw(); } }, "Clear"), h("button", { class: "primary", onclick: () => this.#segment() }, "Segment a video with these"));
  }

  async #segment() {
    const video = h("select", { "aria-label": "Video" }, this.videos.map((one) => h("option", { value: one.id }, one.title)));
    const answer = await ask("Find what these clips share in", video, { yes: "Segment", read: () => video.value });
    if (!answer) return;
    try { await post(`/api/pools/${this.facts.id}/segment`, { video: answer, clips: [...this.chosen.keys()] }); location.hash = "#/jobs"; } catch (error) { toast(error.message, { bad: true }); }
  }
}

const moving = (clip) => `/api/media/${clip.media}/clip.webp?first=${clip.first}&last=${clip.last}&width=320`;

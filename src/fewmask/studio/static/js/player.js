// The stage: one canvas that shows a frame with its masks, zoomed and moved, played or stepped.
//
// A picture and the masks on it always belong to the same frame: while a video plays, each frame that the browser
// presents is drawn into the canvas together with the masks of exactly that frame; standing still, the frame is
// fetched by its number.

import { h } from "./dom.js";
import { paintMasks } from "./paint.js";
import { holds } from "./rle.js";
import { Pictures } from "./stores.js";

const LABEL_FONT = "600 12px system-ui, sans-serif";

export class Player extends EventTarget {
  // look(index) gives what to draw of a frame: [{track, mask, color, label, strong}], or null while it is not here.
  constructor({ size, length, media, times, masks, look }) {
    super();
    Object.assign(this, { size, length, media, times, masks, look });
    this.index = 0;
    this.opacity = 0.4;
    this.labels = true;
    this.playing = false;
    this.speed = 1;
    this.picture = null;
    this.pictureIndex = -1;
    this.painted = { key: null, canvas: null };
    this.revision = 0;
    this.layers = []; // drawn above the masks, by tools
    this.canvas = h("canvas", { "aria-label": "Video with masks", role: "img", tabindex: "0" });
    this.wait = h("div", { class: "waiting", hidden: true }, "loading");
    this.root = h("div", { class: "stage" }, this.canvas, this.wait);
    this.context = this.canvas.getContext("2d");
    this.zoom = null; // {scale, x, y} in device pixels; null = fitted
    if (media) this.pictures = new Pictures(media, Math.max(1280, Math.min(2560, window.innerWidth * devicePixelRatio)));
    if (media?.plays) this.#prepareVideo();
    new ResizeObserver(() => this.#resize()).observe(this.root);
    this.#watchPointer();
  }

  destroy() {
    this.pause();
    this.gone = true;
    if (this.video) { this.video.removeAttribute("src"); this.video.load(); }
    this.pictures?.held.clear();
  }

  // Show a frame; the last call wins.
  async seek(index) {
    index = Math.max(0, Math.min(this.length - 1, index));
    const started = performance.now();
    this.wanted = index;
    this.index = index;
    this.#emit("frame");
    const late = setTimeout(() => { this.wait.hidden = false; }, 250);
    try {
      const [picture] = await Promise.all([
        this.pictures ? this.pictures.frame(index).catch((error) => { this.#emit("trouble", error); return null; }) : null,
        this.masks.frame(index),
      ]);
      if (this.wanted !== index || this.gone) return;
      this.picture = picture;
      this.pictureIndex = index;
      this.draw();
      this.lastSeekMs = performance.now() - started;
      this.shownIndex = index;
      this.#emit("shown");
      if (this.pictures && index + 1 < this.length) this.pictures.frame(index + 1).catch(() => {});
      this.masks.prefetch(index + 32);
    } catch (error) {
      this.#emit("trouble", error);
    } finally {
      clearTimeout(late);
      this.wait.hidden = true;
    }
  }

  toggle() { if (this.playing) this.pause(); else this.play(); }

  play() {
    if (this.playing) return;
    if (this.index >= this.length - 1) this.index = 0;
    this.playing = true;
    this.#emit("playing");
    if (this.video && !this.video.error) this.#playVideo(); else this.#playPictures();
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.video?.pause();
    this.#emit("playing");
    this.seek(this.index);
  }

  // Something else is to be drawn on the same frame.
  changed() {
    this.revision += 1;
    this.draw();
  }

  draw() {
    const { context, canvas } = this;
    const { scale, x, y } = this.view();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(scale, 0, 0, scale, x, y);
    context.imageSmoothingEnabled = scale < 3;
    const [height, width] = this.size;
    if (this.picture) context.drawImage(this.picture, 0, 0, width, height);
    else { context.fillStyle = "#343944"; context.fillRect(0, 0, width, height); }
    const seen = this.look(this.index);
    if (seen) {
      const key = `${this.index}/${this.revision}/${this.opacity}`;
      if (this.painted.key !== key) this.painted = { key, canvas: paintMasks(this.size, seen, this.opacity) };
      context.imageSmoothingEnabled = scale < 2;
      context.drawImage(this.painted.canvas, 0, 0, width, height);
    }
    for (const layer of this.layers) layer(context, scale);
    if (seen && this.labels) this.#drawLabels(seen, scale, x, y);
  }

  view() {
    if (this.zoom) return this.zoom;
    const [height, width] = this.size;
    const scale = Math.min(this.canvas.width / width, this.canvas.height / height) || 1;
    return { scale, x: (this.canvas.width - scale * width) / 2, y: (this.canvas.height - scale * height) / 2 };
  }

  // Where on the frame a pointer is, in pixels of the frame.
  place(event) {
    const box = this.canvas.getBoundingClientRect(), { scale, x, y } = this.view();
    const ratio = this.canvas.width / box.width;
    return [((event.clientX - box.left) * ratio - x) / scale, ((event.clientY - box.top) * ratio - y) / scale];
  }

  // The topmost track under a pointer, smaller masks first.
  under(event) {
    const [x, y] = this.place(event).map(Math.floor);
    const seen = (this.look(this.index) || []).filter(({ mask }) => holds(mask, x, y));
    return seen.sort((a, b) => a.mask.area - b.mask.area)[0] || null;
  }

  zoomBy(factor, at = [this.canvas.width / 2, this.canvas.height / 2]) {
    const { scale, x, y } = this.view();
    const next = Math.max(0.05, Math.min(40, scale * factor));
    this.zoom = { scale: next, x: at[0] - (at[0] - x) * next / scale, y: at[1] - (at[1] - y) * next / scale };
    this.draw();
  }

  fit() { this.zoom = null; this.draw(); }

  #drawLabels(seen, scale, x, y) {
    const { context } = this, ratio = devicePixelRatio;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = LABEL_FONT;
    const taken = [];
    for (const { mask, color, label, strong } of [...seen].sort((a, b) => a.mask.area - b.mask.area)) {
      if (!label) continue;
      const width = context.measureText(label).width + 10;
      let left = Math.max(2, (x + scale * mask.left) / ratio), top = Math.max(2, (y + scale * mask.top) / ratio - 20);
      for (let tries = 0; tries < 6 && taken.some((box) => left < box[0] + box[2] && box[0] < left + width && Math.abs(top - box[1]) < 18); tries++) top += 19;
      taken.push([left, top, width]);
      context.fillStyle = `rgb(${color})`;
      context.beginPath();
      context.roundRect(left, top, width, 18, 4);
      context.fill();
      if (strong) { context.lineWidth = 2; context.strokeStyle = "#fff"; context.stroke(); }
      context.fillStyle = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140 ? "#111" : "#fff";
      context.fillText(label, left + 5, top + 13);
    }
  }

  #resize() {
    const box = this.root.getBoundingClientRect(), ratio = devicePixelRatio;
    const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
    if (this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.zoom = null;
    this.draw();
  }

  #watchPointer() {
    let from = null;
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const ratio = devicePixelRatio, box = this.canvas.getBoundingClientRect();
      this.zoomBy(Math.exp(-event.deltaY / 500), [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio]);
    }, { passive: false });
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button === 1 || (event.button === 0 && !this.tool)) {
        from = { x: event.clientX, y: event.clientY, view: this.view(), moved: false };
        this.canvas.setPointerCapture(event.pointerId);
      }
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (from) {
        const dx = event.clientX - from.x, dy = event.clientY - from.y;
        if (!from.moved && Math.hypot(dx, dy) < 4) return;
        from.moved = true;
        this.zoom = { ...from.view, x: from.view.x + dx * devicePixelRatio, y: from.view.y + dy * devicePixelRatio };
        this.draw();
      } else this.#emit("hover", event);
    });
    this.canvas.addEventListener("pointerup", (event) => {
      const clicked = from && !from.moved;
      from = null;
      if (clicked && !this.tool) this.#emit("pick", event);
    });
    this.canvas.addEventListener("pointerleave", () => this.#emit("hover", null));
  }

  #prepareVideo() {
    this.video = h("video", { muted: true, preload: "auto" });
    this.video.playsInline = true;
    this.video.src = `/api/media/${this.media.id}/video?stamp=${this.media.stamp}`;
    this.offset = 0; // of the player's clock at the first frame
    this.video.requestVideoFrameCallback?.((_, facts) => { if (this.video.currentTime === 0) this.offset = facts.mediaTime; });
    if (!this.video.requestVideoFrameCallback) this.video = null;
    else this.root.append(this.video);
  }

  async #playVideo() {
    const { video } = this;
    video.playbackRate = this.speed;
    video.currentTime = this.times.inside(this.index) + this.offset;
    const round = ++this.revision;
    const present = (_, facts) => {
      if (!this.playing || this.gone) return;
      const index = this.times.index(facts.mediaTime - this.offset);
      this.masks.prefetch(index + 64);
      if (!this.masks.ready(index)) this.#stall(index);
      this.index = this.shownIndex = index;
      this.picture = video;
      this.pictureIndex = index;
      this.draw();
      this.#emit("frame");
      video.requestVideoFrameCallback(present);
    };
    video.requestVideoFrameCallback(present);
    video.onended = () => { if (this.playing && round) this.pause(); };
    try {
      await video.play();
    } catch {
      this.video = null; // this browser lacks the codec
      if (this.playing) this.#playPictures();
    }
  }

  // Masks come later than the picture: wait for them rather than show a picture without.
  async #stall(index) {
    if (this.stalled) return;
    this.stalled = true;
    this.video.pause();
    try { await this.masks.frame(index); } catch { /* shown by the next seek */ }
    this.stalled = false;
    if (this.playing && !this.gone) this.video.play().catch(() => {});
  }

  async #playPictures() {
    let due = performance.now();
    while (this.playing && !this.gone) {
      const next = this.index + 1;
      if (next >= this.length) { this.pause(); return; }
      for (let ahead = 1; ahead < 12 && next + ahead < this.length; ahead++) this.pictures?.frame(next + ahead).catch(() => {});
      this.masks.prefetch(next + 64);
      const [picture] = await Promise.all([this.pictures?.frame(next).catch(() => null), this.masks.frame(next).catch(() => null)]);
      due = Math.max(due + 1000 * (this.times.of(next) - this.times.of(next - 1)) / this.speed, performance.now() - 200);
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
      if (!this.playing || this.gone) return;
      this.index = this.wanted = this.shownIndex = next;
      this.picture = picture;
      this.pictureIndex = next;
      this.draw();
      this.#emit("frame");
    }
  }

  #emit(name, detail = null) { this.dispatchEvent(new CustomEvent(name, { detail })); }
}

// Fixing a mask by hand: brush, eraser, and with SAM weights a click or a box.

import { post } from "./api.js";
import { h, toast } from "./dom.js";
import { countsOf, runsOf, runsOfAlpha } from "./rle.js";

const MOST_STEPS = 30;

export class MaskTool {
  // counts is the mask to begin with, or null; ask(prompt) gives counts by SAM, or is null without weights.
  constructor({ player, counts, color, title, sam, save, cancel }) {
    Object.assign(this, { player, color, sam, save, cancel });
    this.mode = "brush";
    this.radius = Math.max(2, Math.round(Math.max(...player.size) / 60));
    this.steps = [];
    this.points = [];
    const [height, width] = player.size;
    this.canvas = new OffscreenCanvas(width, height);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.#put(counts);
    this.layer = (context, scale) => this.#draw(context, scale);
    player.layers.push(this.layer);
    player.tool = this;
    player.root.classList.add("drawing");
    this.banner = this.#banner(title);
    player.root.append(this.banner);
    this.listening = new AbortController();
    this.#watch(this.listening.signal);
    player.draw();
  }

  close() {
    const { player } = this;
    this.listening.abort();
    this.banner.remove();
    player.layers = player.layers.filter((layer) => layer !== this.layer);
    player.tool = null;
    player.root.classList.remove("drawing", "picking");
    player.draw();
  }

  counts() {
    const [height, width] = this.player.size;
    const runs = runsOfAlpha(this.context.getImageData(0, 0, width, height).data, width, height);
    return runs.length > 1 ? countsOf(runs) : null;
  }

  use(mode) {
    if (mode !== "brush" && mode !== "eraser" && !this.sam) { toast("Masks by a click need SAM weights: fewmask studio --sam WEIGHTS"); return; }
    this.mode = mode;
    this.points = [];
    this.player.root.classList.toggle("drawing", mode === "brush" || mode === "eraser");
    this.player.root.classList.toggle("picking", mode === "click" || mode === "box");
    for (const button of this.banner.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    this.player.draw();
  }

  size(factor) {
    this.radius = Math.max(1, Math.min(Math.max(...this.player.size) / 4, this.radius * factor));
    this.slider.value = String(Math.log2(this.radius));
    this.player.draw();
  }

  undo() {
    if (!this.steps.length) return;
    this.#put(this.steps.pop());
    this.player.draw();
  }

  clear() {
    this.#remember();
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.player.draw();
  }

  #banner(title) {
    const mode = (name, text, key) => h("button", { class: "small", "data-mode": name, "aria-pressed": String(name === this.mode), title: `${text} (${key})`, onclick: () => this.use(name) }, text);
    this.slider = h("input", { type: "range", min: "0", max: String(Math.log2(Math.max(...this.player.size) / 4)), step: "0.1", value: String(Math.log2(this.radius)), "aria-label": "Size of the brush",
      oninput: (event) => { this.radius = 2 ** Number(event.target.value); this.player.draw(); } });
    return h("div", { class: "banner", role: "toolbar", "aria-label": "Mask tools" }, h("strong", {}, title),
      mode("brush", "Brush", "b"), mode("eraser", "Eraser", "e"),
      this.sam && [mode("click", "Click", "i"), mode("box", "Box", "g")],
      h("span", { class: "editing-size" }, this.slider),
      h("button", { class: "small", onclick: () => this.undo() }, "Undo stroke"),
      h("button", { class: "small", onclick: () => this.clear() }, "Clear"),
      h("button", { class: "small", onclick: () => this.cancel() }, "Cancel"),
      h("button", { class: "small primary", onclick: () => this.save(this.counts()) }, "Save mask"));
  }

  #put(counts) {
    const [height, width] = this.player.size;
    const image = this.context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    const ink = ((255 << 24) | (this.color[2] << 16) | (this.color[1] << 8) | this.color[0]) >>> 0;
    let at = 0;
    (counts ? runsOf(counts) : []).forEach((run, number) => {
      if (number & 1) for (let place = at; place < at + run; place++) pixels[(place % height) * width + Math.floor(place / height)] = ink;
      at += run;
    });
    this.context.putImageData(image, 0, 0);
  }

  #remember() {
    this.steps.push(this.counts());
    if (this.steps.length > MOST_STEPS) this.steps.shift();
  }

  #draw(context, scale) {
    context.globalAlpha = 0.6;
    context.drawImage(this.canvas, 0, 0);
    context.globalAlpha = 1;
    if (this.rectangle) {
      context.lineWidth = 2 / scale;
      context.strokeStyle = "#fff";
      const [x, y, x2, y2] = this.rectangle;
      context.strokeRect(x, y, x2 - x, y2 - y);
    }
    for (const [x, y, positive] of this.points) {
      context.fillStyle = positive ? "#2ecc71" : "#e74c3c";
      context.beginPath();
      context.arc(x, y, 5 / scale, 0, 7);
      context.fill();
    }
    if (this.pointer && (this.mode === "brush" || this.mode === "eraser")) {
      context.lineWidth = 1.5 / scale;
      context.strokeStyle = "#000";
      context.beginPath();
      context.arc(...this.pointer, this.radius, 0, 7);
      context.stroke();
      context.strokeStyle = this.mode === "eraser" ? "#ff8f88" : "#fff";
      context.setLineDash([3 / scale, 3 / scale]);
      context.stroke();
      context.setLineDash([]);
    }
  }

  #stroke(from, to) {
    const { context } = this;
    context.globalCompositeOperation = this.erasing ? "destination-out" : "source-over";
    context.fillStyle = context.strokeStyle = `rgb(${this.color})`;
    context.lineWidth = 2 * this.radius;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(to[0] + 0.001, to[1]);
    context.stroke();
    context.globalCompositeOperation = "source-over";
  }

  #watch(signal) {
    const { canvas } = this.player;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button === 1) return;
      const place = this.player.place(event);
      canvas.setPointerCapture(event.pointerId);
      if (this.mode === "click") { this.#click(place, event.button === 0 && !event.shiftKey); return; }
      if (this.mode === "box") { this.rectangle = [...place, ...place]; return; }
      this.#remember();
      this.erasing = this.mode === "eraser" || event.button === 2;
      this.last = place;
      this.#stroke(place, place);
      this.player.draw();
    }, { signal });
    canvas.addEventListener("pointermove", (event) => {
      this.pointer = this.player.place(event);
      if (this.last) { this.#stroke(this.last, this.pointer); this.last = this.pointer; }
      if (this.rectangle) this.rectangle = [this.rectangle[0], this.rectangle[1], ...this.pointer];
      this.player.draw();
    }, { signal });
    canvas.addEventListener("pointerup", () => {
      this.last = null;
      if (this.rectangle) {
        const [x, y, x2, y2] = this.rectangle;
        this.rectangle = null;
        this.#ask({ box: [Math.min(x, x2), Math.min(y, y2), Math.max(x, x2), Math.max(y, y2)], points: [] });
      }
    }, { signal });
    canvas.addEventListener("pointerleave", () => { this.pointer = null; this.player.draw(); }, { signal });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault(), { signal });
  }

  #click(place, positive) {
    this.points.push([...place, positive]);
    this.player.draw();
    this.#ask({ box: null, points: this.points });
  }

  async #ask(prompt) {
    if (this.asking) return;
    this.asking = true;
    this.player.wait.hidden = false;
    try {
      const answer = await post(this.sam, { frame: this.player.index, box: prompt.box, points: prompt.points.map(([x, y, yes]) => ({ x, y, inside: yes })) });
      this.#remember();
      this.#put(answer.counts);
    } catch (error) {
      toast(error.message, { bad: true });
    }
    this.asking = false;
    this.player.wait.hidden = true;
    this.player.draw();
  }
}

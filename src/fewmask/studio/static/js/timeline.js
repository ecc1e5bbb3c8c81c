// One bar per track: where it is present, and how sure; frames a person checked; the head where one looks.

import { h } from "./dom.js";
import { get } from "./api.js";

const ROW = 18, HEAD = 20, LEFT = 118;

export class Timeline extends EventTarget {
  constructor(run) {
    super();
    this.run = run;
    this.index = 0;
    this.range = [0, Math.max(0, run.length - 1)];
    this.rows = [];
    this.data = null;
    this.canvas = h("canvas", { tabindex: "0", role: "slider", "aria-label": "Frame", "aria-valuemin": "0", "aria-valuemax": String(run.length - 1) });
    this.root = h("div", { class: "timeline" }, this.canvas);
    this.context = this.canvas.getContext("2d");
    new ResizeObserver(() => this.#layout()).observe(this.root);
    this.root.addEventListener("scroll", () => this.draw());
    this.#watchPointer();
  }

  // Tracks in the order of the list; `selected` is one's id.
  show(tracks, selected) {
    this.rows = tracks;
    this.selected = selected;
    this.#layout();
  }

  move(index) {
    this.index = index;
    this.canvas.setAttribute("aria-valuenow", String(index));
    const [first, last] = this.range;
    if (last - first < this.run.length - 1 && (index < first || index > last)) {
      const half = (last - first) / 2;
      this.zoom(index - half, index + half);
    }
    this.draw();
  }

  zoom(first, last) {
    const most = Math.max(0, this.run.length - 1), wide = Math.min(most, Math.max(20, last - first));
    first = Math.max(0, Math.min(most - wide, Math.round(first)));
    this.range = [first, Math.round(first + wide)];
    this.load();
  }

  async load() {
    const [first, last] = this.range;
    const asked = this.asked = {};
    try {
      const answer = await get(`/api/runs/${this.run.id}/timeline?first=${first}&last=${last}&buckets=1024`);
      if (asked !== this.asked) return;
      const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      for (const track of Object.values(answer.tracks)) { track.there = bytes(track.there); track.score = bytes(track.score); }
      this.data = answer;
      this.draw();
    } catch { /* the next correction or zoom asks again */ }
  }

  draw() {
    const { context, canvas, root } = this, ratio = devicePixelRatio;
    const style = getComputedStyle(document.documentElement), color = (name) => style.getPropertyValue(name);
    const width = canvas.width / ratio, height = canvas.height / ratio;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    const [first, last] = this.range, wide = width - LEFT - 10, span = last - first + 1;
    this.toX = (index) => LEFT + wide * (index - first) / span;
    const top = root.scrollTop;
    this.rows.forEach((track, row) => {
      const y = HEAD + row * ROW;
      if (y + ROW < top || y > top + root.clientHeight) return;
      if (track.id === this.selected) { context.fillStyle = color("--accent-soft"); context.fillRect(0, y, width, ROW); }
      context.fillStyle = `rgb(${track.color})`;
      context.fillRect(10, y + 4, 9, 9);
      context.fillStyle = color(track.hidden ? "--dim" : "--ink");
      context.fillText(fitted(context, `#${track.id} ${track.name}`, LEFT - 32), 24, y + ROW / 2);
      context.fillStyle = color("--line");
      context.fillRect(LEFT, y + ROW / 2, wide, 1);
      this.#drawBar(track, y, wide, span);
    });
    context.fillStyle = color("--card");
    context.fillRect(0, top, width, HEAD);
    context.fillStyle = color("--line");
    context.fillRect(0, top + HEAD - 1, width, 1);
    context.fillStyle = color("--dim");
    context.fillText("checked", 10, top + HEAD / 2);
    context.fillStyle = color("--yes");
    for (const [from, to] of this.run.checked) {
      if (to < first || from > last) continue;
      const x = this.toX(Math.max(from, first));
      context.fillRect(x, top + 6, Math.max(2, this.toX(Math.min(to, last) + 1) - x), 8);
    }
    context.fillStyle = color("--ink");
    const x = this.toX(this.index + 0.5);
    context.fillRect(x - 0.75, top, 1.5, height);
    context.beginPath();
    context.moveTo(x - 5, top); context.lineTo(x + 5, top); context.lineTo(x, top + 7);
    context.fill();
  }

  #drawBar(track, y, wide, span) {
    const found = this.data?.tracks[track.id];
    if (!found) return;
    const { context, data } = this, buckets = data.buckets, frames = data.last - data.first + 1;
    const [red, green, blue] = track.color;
    let start = 0;
    const level = (bucket) => bucket < buckets && found.there[bucket] ? Math.round(found.score[bucket] / 16) + 1 : 0;
    for (let bucket = 1; bucket <= buckets; bucket++) {
      if (bucket < buckets && level(bucket) === level(start)) continue;
      const strength = level(start);
      if (strength) {
        const from = this.toX(data.first + frames * start / buckets), to = this.toX(data.first + frames * bucket / buckets);
        const left = Math.max(LEFT, from), right = Math.min(LEFT + wide, to);
        if (right > left) {
          const tall = 4 + 8 * (strength - 1) / 16;
          context.fillStyle = `rgba(${red},${green},${blue},${track.hidden ? 0.3 : 0.95})`;
          context.fillRect(left, y + (ROW - tall) / 2, Math.max(1, right - left), tall);
        }
      }
      start = bucket;
    }
  }

  #layout() {
    const ratio = devicePixelRatio, width = this.root.clientWidth;
    const height = Math.max(this.root.clientHeight - 1, HEAD + this.rows.length * ROW + 4);
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.height = `${height}px`;
    this.draw();
  }

  #watchPointer() {
    const indexAt = (event) => {
      const box = this.canvas.getBoundingClientRect(), [first, last] = this.range;
      const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - 10);
      return Math.max(0, Math.min(this.run.length - 1, Math.floor(first + share * (last - first + 1))));
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      const box = this.canvas.getBoundingClientRect(), row = Math.floor((event.clientY - box.top - HEAD) / ROW);
      const inHead = event.clientY - this.root.getBoundingClientRect().top < HEAD;
      if (!inHead && this.rows[row]) this.dispatchEvent(new CustomEvent("pick", { detail: this.rows[row].id }));
      if (event.clientX - box.left < LEFT) return;
      this.canvas.setPointerCapture(event.pointerId);
      this.dragging = true;
      this.dispatchEvent(new CustomEvent("seek", { detail: indexAt(event) }));
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (this.dragging) this.dispatchEvent(new CustomEvent("seek", { detail: indexAt(event) }));
    });
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => { this.dragging = false; });
    this.canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return; // plain turning scrolls
      event.preventDefault();
      const [first, last] = this.range, at = indexAt(event), factor = Math.exp((event.deltaY || event.deltaX) / 400);
      this.zoom(at - (at - first) * factor, at + (last - at) * factor);
    }, { passive: false });
  }
}

function fitted(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  while (text.length > 1 && context.measureText(`${text}…`).width > width) text = text.slice(0, -1);
  return `${text}…`;
}

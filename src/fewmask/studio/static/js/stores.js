// What the viewer holds of a video: pictures by frame and masks by stretch, a bounded number of each.

import { get, getBlob, getBytes } from "./api.js";
import { maskOf } from "./rle.js";

export const STRETCH = 64;

class Bounded {
  constructor(most, dropped = () => {}) {
    this.most = most;
    this.dropped = dropped;
    this.map = new Map();
  }

  get(key) {
    const value = this.map.get(key);
    if (value !== undefined) { this.map.delete(key); this.map.set(key, value); }
    return value;
  }

  set(key, value) {
    this.map.set(key, value);
    while (this.map.size > this.most) {
      const [oldest, old] = this.map.entries().next().value;
      this.map.delete(oldest);
      this.dropped(old);
    }
  }

  clear() {
    for (const value of this.map.values()) this.dropped(value);
    this.map.clear();
  }
}

export class Pictures {
  constructor(media, width) {
    this.media = media;
    this.width = width;
    this.held = new Bounded(48, (promise) => promise.then((picture) => setTimeout(() => picture.close(), 2000)).catch(() => {}));
  }

  frame(index) {
    let picture = this.held.get(index);
    if (!picture) {
      const width = Math.min(this.width, this.media.size[1]);
      picture = getBlob(`/api/media/${this.media.id}/frame/${index}.jpg?width=${width}&stamp=${this.media.stamp}`)
        .then((blob) => createImageBitmap(blob));
      picture.catch(() => this.held.map.delete(index));
      this.held.set(index, picture);
    }
    return picture;
  }
}

export class Masks {
  constructor(run) {
    this.run = run;
    this.held = new Bounded(12);
    this.decoded = new Bounded(400);
  }

  stretch(number) {
    const key = `${this.run.version}/${number}`;
    let found = this.held.get(key);
    if (!found) {
      found = get(`/api/runs/${this.run.id}/masks?first=${number * STRETCH}&count=${STRETCH}`).then((answer) => {
        found.value = answer;
        return answer;
      });
      found.catch(() => this.held.map.delete(key));
      this.held.set(key, found);
    }
    return found;
  }

  async frame(index) {
    await this.stretch(Math.floor(index / STRETCH));
    return this.ready(index);
  }

  // The masks of a frame if they are here: [{track, mask}], else null.
  ready(index) {
    const number = Math.floor(index / STRETCH);
    const answer = this.held.get(`${this.run.version}/${number}`)?.value;
    if (!answer) return null;
    const found = [];
    for (const [track, counts] of Object.entries(answer.tracks)) {
      const text = counts[index - answer.first];
      if (!text) continue;
      const key = `${answer.version}/${track}/${index}`;
      let mask = this.decoded.get(key);
      if (!mask) { mask = maskOf(text, this.run.size); this.decoded.set(key, mask); }
      found.push({ track: +track, counts: text, mask });
    }
    return found;
  }

  prefetch(index) {
    const number = Math.floor(index / STRETCH);
    if (number * STRETCH < this.run.length) this.stretch(number).catch(() => {});
  }

  forget() {
    this.held.clear();
    this.decoded.clear();
  }
}

// Which frame is shown at which time, for videos whose frames last equally long and for those whose do not.
export class Times {
  static async of(media, length) {
    const made = new Times();
    made.length = length;
    made.step = media?.step || (media?.fps ? 1 / media.fps : 1 / 25);
    if (media && !media.steady) {
      const values = new Float64Array(await getBytes(`/api/media/${media.id}/times`));
      if (values.length) made.values = values;
    }
    return made;
  }

  of(index) {
    return this.values ? this.values[Math.min(index, this.values.length - 1)] : index * this.step;
  }

  // A moment well inside the frame, to seek a player to.
  inside(index) {
    const end = index + 1 < this.length ? this.of(index + 1) : this.of(index) + this.step;
    return this.of(index) + (end - this.of(index)) / 2;
  }

  index(seconds) {
    if (!this.values) return Math.max(0, Math.min(this.length - 1, Math.round(seconds / this.step)));
    let low = 0, high = this.values.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.values[middle] <= seconds + 1e-4) low = middle; else high = middle - 1;
    }
    return Math.min(low, this.length - 1);
  }
}

// The corrections a person can make, as buttons and keys; each is one entry of the run's journal.

import { post } from "./api.js";
import { ask, h, tell, toast } from "./dom.js";
import { MaskTool } from "./masktool.js";

const FORMATS = [
  ["ytvis", "YouTube-VIS results", "what evaluation and other tools read"],
  ["dataset", "Dataset to train on", "the frames you fixed or confirmed, with pictures"],
  ["coco", "COCO", "an image per frame"],
  ["davis", "Label maps", "palette PNGs"],
  ["cvat", "CVAT", "tracks for video 1.1"],
  ["label-studio", "Label Studio", "tasks with predictions"],
  ["overlay", "Overlay video", "drawn into the video"],
];
const NEW_COLOR = [255, 0, 200];

export function corrections(viewer) { return new Corrections(viewer); }

class Corrections {
  constructor(viewer) {
    this.viewer = viewer;
    this.busy = false;
    this.picking = null;
    const button = (text, key, run, label = text) => h("button", { onclick: run, "aria-label": label, title: `${label} (${key})` }, text, h("span", {}, key));
    this.title = h("h3", {});
    this.undoButton = button("Undo", "u", () => this.undo());
    this.redoButton = button("Redo", "U", () => this.redo());
    this.confirmButton = button("Confirm", "c", () => this.confirm(), "This frame is right");
    this.root = h("div", { class: "actions" }, viewer.run.examples && this.#found(), this.title,
      h("div", { class: "buttons", role: "group", "aria-label": "Corrections" },
        button("Rename", "r", () => this.rename(), "Name the class"), button("Merge", "m", () => this.merge(), "Merge with another track"), button("Swap", "w", () => this.swap(), "Swap ids from here on"),
        button("Split", "s", () => this.split(), "Split here"), button("Delete", "x", () => this.remove(), "Delete the track"), button("Stretch", "d", () => this.removeStretch(), "Delete a stretch"),
        button("Fix mask", "b", () => this.fixMask()), button("Absent", "a", () => this.absent(), "Not in this frame"), button("New", "n", () => this.add(), "A new object"),
        this.confirmButton, this.undoButton, this.redoButton),
      h("button", { class: "primary", onclick: () => this.exportAs(), title: "Write corrected results (t)" }, "Export corrected results"));
  }

  // For a run that looked for examples: what it found right and wrong, shown as further ones.
  #found() {
    const set = this.run.examples;
    return h("div", { class: "found" }, h("p", { class: "dim tiny" }, `Found by the examples “${set}”`),
      h("button", { class: "small no", onclick: () => this.show(true), title: "This track, in this frame, is not what I look for (q)" }, "Wrong: not this"),
      h("button", { class: "small yes", onclick: () => this.show(false), title: "This track, in this frame, is a good example" }, "Right: more like it"),
      h("button", { class: "small primary", onclick: () => this.again() }, "Find again"), h("a", { href: "#/examples" }, "All examples"));
  }

  async show(wrong) {
    const { track } = this, here = track && this.viewer.masks.ready(this.index)?.find((found) => found.track === track.id);
    if (!this.run.examples || !this.run.media) return;
    if (!here) { toast("The selected track is not in this frame", { bad: true }); return; }
    try {
      await post("/api/examples", { set: this.run.examples, class_name: wrong ? "not" : track.name, media: this.run.media.id, frame: this.index, counts: here.counts });
      toast(wrong ? "It will be kept out of the next search" : "One more example");
    } catch (error) { toast(error.message, { bad: true }); }
  }

  async again() {
    try {
      await post(`/api/examples/${encodeURIComponent(this.run.examples)}/find`, { videos: [this.run.media.id] });
      location.hash = "#/jobs";
    } catch (error) { toast(error.message, { bad: true }); }
  }

  get run() { return this.viewer.run; }
  get track() { return this.viewer.track(this.viewer.selected); }
  get index() { return this.viewer.player.index; }

  state() {
    this.undoButton.disabled = !this.run.can_undo;
    this.redoButton.disabled = !this.run.can_redo;
    this.title.textContent = this.track ? `#${this.track.id} ${this.track.name}` : "No track";
    this.moved();
  }

  moved() {
    const checked = this.run.checked.some(([first, last]) => first <= this.index && this.index <= last);
    this.confirmButton.setAttribute("aria-pressed", String(checked));
    if (this.track) this.title.textContent = `#${this.track.id} ${this.track.name}`;
  }

  async send(edit) {
    if (this.busy) return null;
    this.busy = true;
    try {
      const answer = await post(`/api/runs/${this.run.id}/corrections`, { based_on: this.run.version, edit });
      this.viewer.update(answer);
      return answer;
    } catch (error) {
      toast(error.message, { bad: true });
      if (error.status === 409) await this.viewer.reload();
      return null;
    } finally {
      this.busy = false;
    }
  }

  undo() { if (this.run.can_undo) return this.send({ kind: "undo" }); }
  redo() { if (this.run.can_redo) return this.send({ kind: "redo" }); }

  async rename() {
    const { track } = this;
    if (!track) return;
    const list = h("datalist", { id: "class-names" }, this.run.classes.map((name) => h("option", { value: name })));
    const name = h("input", { type: "text", value: track.name, maxlength: "120", required: true, list: "class-names", "aria-label": "Name of the class" });
    const all = h("input", { type: "checkbox" });
    const others = this.run.tracks.filter((other) => other.name === track.name).length;
    const answer = await ask(`Class of #${track.id}`, h("div", { class: "stack" }, name, list,
      others > 1 && h("label", { class: "inline" }, all, `rename the class “${track.name}” of all ${others} tracks`)),
    { yes: "Rename", read: () => ({ name: name.value.trim(), all: all.checked }) });
    if (!answer?.name || answer.name === track.name) return;
    await this.send(answer.all ? { kind: "rename-class", old: track.name, new: answer.name } : { kind: "set-class", track: track.id, name: answer.name });
  }

  merge() {
    const { track } = this;
    if (!track) return;
    this.pick(`Which track is the same object as #${track.id}?`, (other) => {
      if (other !== track.id) this.send({ kind: "merge", into: track.id, other });
    });
  }

  swap() {
    const { track } = this;
    if (!track) return;
    const frame = this.index;
    this.pick(`Swap #${track.id} from frame ${frame} on with which track?`, (other) => {
      if (other !== track.id) this.send({ kind: "swap", first: track.id, second: other, frame });
    });
  }

  // The next track that is clicked, in the picture, the list or the timeline.
  pick(question, then) {
    this.cancelPick();
    this.picking = then;
    this.pickBanner = h("div", { class: "banner", role: "status" }, question, h("span", { class: "dim" }, "click it"), h("button", { class: "small", onclick: () => this.cancelPick() }, "Cancel"));
    this.viewer.player.root.append(this.pickBanner);
    this.viewer.player.root.classList.add("picking");
  }

  picked(track) {
    if (track === null) return;
    const then = this.picking;
    this.cancelPick();
    then(track);
  }

  cancelPick() {
    this.picking = null;
    this.pickBanner?.remove();
    this.viewer.player.root.classList.remove("picking");
  }

  async split() {
    if (!this.track) return;
    const answer = await this.send({ kind: "split", track: this.track.id, frame: this.index });
    if (answer) { toast(`From frame ${this.index} on it is #${answer.new_tracks[0]}`); this.viewer.select(answer.new_tracks[0]); }
  }

  remove() { if (this.track) return this.send({ kind: "delete", track: this.track.id, first: null, last: null }); }

  async removeStretch() {
    const { track } = this;
    if (!track) return;
    const field = (text, value) => h("input", { type: "number", min: "0", max: String(this.run.length - 1), value: String(value), "aria-label": text });
    const first = field("From frame", this.index), last = field("To frame", track.last ?? this.index);
    const answer = await ask(`Delete a stretch of #${track.id}`, h("div", { class: "row" }, h("label", { class: "inline" }, "from frame", first), h("label", { class: "inline" }, "to frame", last)),
      { yes: "Delete", danger: true, read: () => [Number(first.value), Number(last.value)] });
    if (answer) await this.send({ kind: "delete", track: track.id, first: answer[0], last: answer[1] });
  }

  absent() { if (this.track) return this.send({ kind: "mask", track: this.track.id, frame: this.index, counts: null }); }

  confirm() {
    const right = this.confirmButton.getAttribute("aria-pressed") !== "true";
    return this.send({ kind: "confirm", first: this.index, last: this.index, right });
  }

  fixMask() {
    const { track } = this;
    if (!track) { this.add(); return; }
    const here = this.viewer.masks.ready(this.index)?.find((found) => found.track === track.id);
    this.edit(here?.counts ?? null, track.color, `#${track.id}, frame ${this.index}`, track.id,
      (counts) => this.send({ kind: "mask", track: track.id, frame: this.index, counts }));
  }

  async add() {
    this.edit(null, NEW_COLOR, `New object, frame ${this.index}`, null, async (counts) => {
      if (!counts) { toast("Draw the object first", { bad: true }); return null; }
      const name = h("input", { type: "text", value: this.run.classes[0] || "object", maxlength: "120", required: true, "aria-label": "Name of the class" });
      const answer = await ask("What is it?", name, { yes: "Add", read: () => name.value.trim() });
      if (!answer) return null;
      const made = await this.send({ kind: "add", name: answer, frame: this.index, counts });
      if (made) this.viewer.select(made.new_tracks[0]);
      return made;
    });
  }

  edit(counts, color, title, track, save) {
    const { player } = this.viewer;
    player.pause();
    player.tool?.close();
    const tool = new MaskTool({
      player, counts, color, title, sam: this.run.sam && this.run.media ? `/api/media/${this.run.media.id}/sam` : null,
      cancel: () => { tool.close(); player.changed(); },
      save: async (drawn) => { if (await save(drawn)) { tool.close(); player.changed(); } },
    });
    tool.track = track;
    player.changed();
  }

  async exportAs() {
    const kind = h("select", { "aria-label": "Format" }, FORMATS.map(([value, name, what]) => h("option", { value }, `${name}: ${what}`)));
    const answer = await ask("Export corrected results", h("div", { class: "stack" }, kind, h("p", { class: "dim tiny" }, "Written below the run; its own files stay as they are.")), { yes: "Export", read: () => kind.value });
    if (!answer) return;
    toast("Writing …");
    try {
      const { path, file } = await post(`/api/runs/${this.run.id}/export`, { format: answer });
      tell("Exported", h("p", { class: "mono" }, path), file && h("p", {}, h("a", { href: `/api/runs/${this.run.id}/exports/${file.split("/").map(encodeURIComponent).join("/")}`, download: "" }, "Download it")));
    } catch (error) {
      toast(error.message, { bad: true });
    }
  }

  keys() {
    const tool = () => this.viewer.player.tool;
    const either = (keys, what, plain, drawing = () => {}) => ({ keys, what, run: () => (tool() ? drawing(tool()) : plain()) });
    return [
      either(["u", "ctrl+z"], "undo the last correction", () => this.undo(), (open) => open.undo()),
      either(["U", "ctrl+y"], "redo", () => this.redo()),
      either(["r"], "name the class", () => this.rename()), either(["m"], "merge with another", () => this.merge()),
      either(["s"], "split here", () => this.split()), either(["w"], "swap ids from here on", () => this.swap()),
      either(["x", "Delete"], "delete the track", () => this.remove()), either(["d"], "delete a stretch", () => this.removeStretch()),
      either(["b"], "fix the mask; brush", () => this.fixMask(), (open) => open.use("brush")),
      either(["e"], "eraser (while drawing)", () => {}, (open) => open.use("eraser")),
      either(["i"], "click with SAM (while drawing)", () => {}, (open) => open.use("click")),
      either(["g"], "box with SAM (while drawing)", () => {}, (open) => open.use("box")),
      either(["["], "smaller brush", () => {}, (open) => open.size(1 / 1.25)), either(["]"], "larger brush", () => {}, (open) => open.size(1.25)),
      either(["Enter"], "save the mask", () => {}, (open) => open.save(open.counts())),
      either(["Escape"], "cancel", () => this.cancelPick(), (open) => open.cancel()),
      either(["a"], "not in this frame", () => this.absent()), either(["n"], "a new object", () => this.add()),
      ...(this.run.examples ? [either(["q"], "what was found here is wrong", () => this.show(true))] : []),
      either(["c"], "this frame is right", () => this.confirm()), either(["t"], "export", () => this.exportAs()),
    ];
  }
}

// Show examples: draw an object in a few frames, and have it found elsewhere.

import { get, post } from "./api.js";
import { ask, h, plural, toast } from "./dom.js";
import { useKeys } from "./keys.js";
import { MaskTool } from "./masktool.js";
import { Player } from "./player.js";
import { Times } from "./stores.js";

const NEGATIVE = "not";
const COLOR = [80, 220, 140], AGAINST = [255, 96, 80];

export async function page([what, thing]) {
  const [{ things, sam }, { sets }] = await Promise.all([get("/api/library"), get("/api/examples")]);
  const videos = things.filter((one) => one.kind === "video");
  if (what === "video" && thing) return drawing(videos.find((video) => video.id === thing) ?? { id: thing }, sets, sam);
  const root = h("div", { class: "page" }, h("div", { class: "page-head" }, h("h1", {}, "Examples"), h("span", { class: "spacer" }),
    h("p", {}, "Draw what you look for in three to five frames, then find it in any video. What was found wrongly becomes an example of what not to find.")));
  const show = (now) => {
    const cards = Object.entries(now).filter(([, some]) => some.length).map(([name, some]) => setCard(name, some, videos, show));
    list.replaceChildren(...(cards.length ? cards : [h("div", { class: "empty card" }, h("h2", {}, "No examples yet"), h("p", {}, "Choose a video below and draw an object in it."))]));
  };
  const list = h("div", { class: "stack" });
  show(sets);
  root.append(list, h("div", { class: "section" }, h("h2", {}, "Draw in a video")),
    h("div", { class: "grid" }, videos.map((video) => h("a", { class: "tile card", href: `#/examples/video/${video.id}` },
      h("img", { class: "shot", src: `/api/library/${video.id}/cover.jpg`, alt: "", loading: "lazy" }), h("div", { class: "under" }, h("h3", {}, video.title))))),
    h("p", { class: "dim", hidden: videos.length > 0 }, "No video is open. Start the studio with videos, or a folder of them."));
  return { root };
}

function setCard(name, some, videos, show) {
  const wrong = some.filter((example) => example.class_name === NEGATIVE).length;
  return h("section", { class: "card pad stack", "aria-label": `Examples ${name}` },
    h("div", { class: "row" }, h("h2", {}, name), h("span", { class: "dim" }, `${plural(some.length - wrong, "picture")}${wrong ? `, ${wrong} of what not to find` : ""}`), h("span", { class: "spacer" }),
      h("button", { class: "primary", onclick: () => search(name, videos) }, "Find …")),
    h("div", { class: "shots" }, some.map((example) => h("figure", { class: example.class_name === NEGATIVE ? "shown against" : "shown" },
      h("img", { src: `/api/examples/${[name, example.class_name, example.name].map(encodeURIComponent).join("/")}.jpg`, alt: `${example.class_name}: ${example.name}`, loading: "lazy" }),
      h("figcaption", {}, h("span", { class: "clip" }, example.class_name === NEGATIVE ? "not this" : example.class_name),
        h("button", { class: "small quiet", "aria-label": `Remove ${example.name}`, onclick: async () => show((await post("/api/examples/remove", { set: name, ...example })).sets) }, "✕"))))));
}

export async function search(name, videos, chosen = null) {
  const boxes = videos.map((video) => h("input", { type: "checkbox", value: video.id, checked: video.id === chosen }));
  const how = h("select", { "aria-label": "As" }, [["auto", "objects with ids"], ["none", "one region of the class"], ["components", "connected parts with ids"]].map(([value, text]) => h("option", { value }, text)));
  const answer = await ask(`Find ${name} in`, h("div", { class: "stack" }, h("div", { class: "choose" }, videos.map((video, place) => h("label", { class: "inline" }, boxes[place], video.title))), h("label", { class: "inline" }, "as", how)),
    { yes: "Find", read: () => ({ videos: boxes.filter((box) => box.checked).map((box) => box.value), instances: how.value }) });
  if (!answer) return;
  if (!answer.videos.length) { toast("Choose at least one video", { bad: true }); return; }
  try {
    await post(`/api/examples/${encodeURIComponent(name)}/find`, answer);
    location.hash = "#/jobs";
  } catch (error) { toast(error.message, { bad: true }); }
}

async function drawing(video, sets, sam) {
  const media = await get(`/api/media/${video.id}`);
  const length = media.length || 1;
  const none = { frame: async () => [], ready: () => [], prefetch: () => {} };
  const player = new Player({ size: media.size, length, media, times: await Times.of(media, length), masks: none, look: () => [] });
  const names = Object.keys(sets);
  const set = h("input", { type: "text", value: sessionStorage.getItem("set") || names[0] || "mine", maxlength: "60", list: "sets", "aria-label": "Set of examples" });
  const kind = h("input", { type: "text", value: sessionStorage.getItem("class") || "object", maxlength: "60", "aria-label": "Class" });
  const shots = h("div", { class: "shots" });
  const jump = h("input", { type: "range", min: "0", max: String(length - 1), value: "0", "aria-label": "Frame", oninput: () => { player.pause(); player.seek(Number(jump.value)); } });
  const at = h("span", { class: "mono dim" });
  player.addEventListener("frame", () => { jump.value = String(player.index); at.textContent = `frame ${player.index} of ${length}`; });
  player.addEventListener("trouble", ({ detail }) => toast(detail.message, { bad: true }));

  const known = (some) => { shots.replaceChildren(...(some || []).map((example) => h("figure", { class: example.class_name === NEGATIVE ? "shown against" : "shown" },
    h("img", { src: `/api/examples/${[set.value, example.class_name, example.name].map(encodeURIComponent).join("/")}.jpg?${Date.now()}`, alt: example.name }), h("figcaption", {}, example.class_name === NEGATIVE ? "not this" : example.class_name)))); };

  function draw(against) {
    player.pause();
    player.tool?.close();
    const tool = new MaskTool({
      player, counts: null, color: against ? AGAINST : COLOR, title: against ? "Not this" : kind.value, sam: sam ? `/api/media/${media.id}/sam` : null, cancel: () => tool.close(),
      save: async (counts) => {
        if (!counts) { toast("Draw the object first", { bad: true }); return; }
        try {
          const answer = await post("/api/examples", { set: set.value.trim(), class_name: against ? NEGATIVE : kind.value.trim(), media: media.id, frame: player.index, counts });
          sessionStorage.setItem("set", set.value.trim());
          sessionStorage.setItem("class", kind.value.trim());
          sets = answer.sets;
          known(sets[set.value.trim()]);
          tool.close();
          toast("Shown. Three to five of different looks do best.");
        } catch (error) { toast(error.message, { bad: true }); }
      },
    });
  }

  const { things } = await get("/api/library");
  const step = (by) => { player.pause(); player.seek(player.index + by); };
  const root = h("div", { class: "viewer" }, player.root,
    h("div", { class: "bottom" }, h("div", { class: "transport" }, h("button", { class: "small primary", onclick: () => player.toggle() }, "Play / pause"), h("button", { class: "small", "aria-label": "Frame before", onclick: () => step(-1) }, "−1"), h("button", { class: "small", "aria-label": "Next frame", onclick: () => step(1) }, "+1"), at), h("div", { class: "transport wide" }, jump)),
    h("aside", { class: "side pad stack", "aria-label": "Examples" }, h("h2", {}, "Show what you look for"), h("p", { class: "dim tiny" }, media.title),
      h("label", { class: "field" }, "Set", set), h("datalist", { id: "sets" }, names.map((value) => h("option", { value }))), h("label", { class: "field" }, "Class", kind),
      h("button", { class: "primary", onclick: () => draw(false) }, "Draw an object here"), h("button", { onclick: () => draw(true) }, "Draw what it is not"), shots, h("span", { class: "spacer" }),
      h("button", { class: "primary", onclick: () => search(set.value.trim(), things.filter((one) => one.kind === "video"), media.id) }, "Find …"), h("a", { href: "#/examples" }, "All examples")));
  set.addEventListener("change", () => known(sets[set.value.trim()]));
  const tool = () => player.tool;
  useKeys([
    { keys: ["space"], what: "play or pause", run: () => !tool() && player.toggle() }, { keys: ["ArrowLeft"], what: "frame before", run: () => !tool() && step(-1) }, { keys: ["ArrowRight"], what: "next frame", run: () => !tool() && step(1) },
    { keys: ["b"], what: "draw the object; brush", run: () => (tool() ? tool().use("brush") : draw(false)) }, { keys: ["e"], what: "eraser", run: () => tool()?.use("eraser") },
    { keys: ["i"], what: "click with SAM", run: () => tool()?.use("click") }, { keys: ["g"], what: "box with SAM", run: () => tool()?.use("box") },
    { keys: ["u", "ctrl+z"], what: "undo the stroke", run: () => tool()?.undo() }, { keys: ["["], what: "smaller brush", run: () => tool()?.size(0.8) }, { keys: ["]"], what: "larger brush", run: () => tool()?.size(1.25) },
    { keys: ["Enter"], what: "save", run: () => tool()?.save(tool().counts()) }, { keys: ["Escape"], what: "cancel", run: () => tool()?.cancel() },
  ]);
  window.studioViewer = { player };
  return { root, leave: () => { player.tool?.close(); player.destroy(); delete window.studioViewer; }, shown: () => { known(sets[set.value.trim()]); player.seek(0); } };
}

// The first page: everything that was opened.

import { get } from "./api.js";
import { h, plural } from "./dom.js";

const KINDS = [
  ["run", "Runs", "results of one video: watch and correct them"],
  ["video", "Videos", "show an example in one, or segment it"],
  ["dataset", "Mined datasets", "pseudo-labels to review"],
  ["pool", "Pools", "indexed clips to browse"],
];

export async function page() {
  const { things, out } = await get("/api/library");
  const root = h("div", { class: "page" },
    h("div", { class: "page-head" }, h("h1", {}, "Library"), h("span", { class: "spacer" }),
      h("a", { href: "#/jobs/new/segment" }, h("button", { class: "primary", tabindex: "-1" }, "Segment a video")),
      h("p", {}, "What was opened with the studio, and what its jobs made.")));
  for (const [kind, title, what] of KINDS) {
    const some = things.filter((thing) => thing.kind === kind);
    if (!some.length) continue;
    root.append(h("div", { class: "section" }, h("h2", {}, title), h("span", { class: "dim" }, what)),
      h("div", { class: "grid" }, some.map(tile)));
  }
  if (!things.length) {
    root.append(h("div", { class: "empty" }, h("h2", {}, "Nothing is open"),
      h("p", {}, "Start the studio with runs, mined datasets, indexes, videos, or folders of them:"), h("code", {}, "fewmask studio out/ videos/")));
  }
  root.append(h("p", { class: "dim tiny foot" }, `The studio writes into ${out}`));
  return { root };
}

function tile(thing) {
  const address = { run: `#/run/${thing.id}`, dataset: `#/review/${thing.id}`, pool: `#/pool/${thing.id}`, video: `#/examples/video/${thing.id}` }[thing.kind];
  const facts = {
    run: [thing.frames && plural(thing.frames, "frame"), thing.tracks !== null && thing.tracks !== undefined && plural(thing.tracks, "track")],
    dataset: [thing.videos && plural(thing.videos, "video"), thing.tracks && plural(thing.tracks, "track")],
    pool: ["nearest clips, map"], video: [],
  }[thing.kind].filter(Boolean).join(" · ");
  return h("a", { class: "tile card", href: address, title: thing.path },
    h("img", { class: "shot", src: `/api/library/${thing.id}/cover.jpg`, alt: "", loading: "lazy" }),
    h("div", { class: "under" }, h("h3", {}, thing.title),
      h("div", { class: "row dim tiny" }, facts || "\u00a0", thing.status && thing.status !== "finished" && h("span", { class: "badge warn" }, thing.status))));
}

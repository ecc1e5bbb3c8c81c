// Masks as one transparent picture: fill and outline in the track's colour, larger masks below smaller ones.

import { rasterOf } from "./rle.js";

const WIDEST = 1920;

export function paintMasks(size, drawn, opacity) {
  const step = Math.max(1, Math.ceil(size[1] / WIDEST));
  const width = Math.ceil(size[1] / step), height = Math.ceil(size[0] / step);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (const { mask, color, strong } of [...drawn].sort((a, b) => b.mask.area - a.mask.area)) {
    if (!mask.area) continue;
    const [red, green, blue] = color;
    const plain = (blue << 16) | (green << 8) | red;
    const fill = ((Math.round(255 * (strong ? Math.min(1, opacity + .15) : opacity)) << 24) | plain) >>> 0;
    const edge = ((255 << 24) | plain) >>> 0;
    const part = rasterOf(mask, step), w = part.width, inside = part.inside;
    for (let y = 0; y < part.height; y++) {
      const row = y * w, target = (y + part.y) * width + part.x;
      for (let x = 0; x < w; x++) {
        if (!inside[row + x]) continue;
        const outline = x === 0 || x === w - 1 || y === 0 || y === part.height - 1 ||
          !inside[row + x - 1] || !inside[row + x + 1] || !inside[row + x - w] || !inside[row + x + w];
        pixels[target + x] = outline ? edge : fill;
      }
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

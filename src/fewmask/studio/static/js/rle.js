// COCO run lengths in the browser: column-major, background first, five bits a letter, as pycocotools writes them.

export function runsOf(counts) {
  const runs = new Uint32Array(counts.length);
  let at = 0, place = 0;
  while (place < counts.length) {
    let value = 0, shift = 0, letter;
    do {
      letter = counts.charCodeAt(place++) - 48;
      value |= (letter & 31) << shift;
      shift += 5;
    } while (letter & 32);
    if (letter & 16) value |= -1 << shift;
    if (at > 2) value += runs[at - 2];
    runs[at++] = value;
  }
  return runs.subarray(0, at);
}

export function countsOf(runs) {
  let text = "";
  for (let i = 0; i < runs.length; i++) {
    let value = i > 2 ? runs[i] - runs[i - 2] : runs[i];
    for (let more = true; more;) {
      let letter = value & 31;
      value >>= 5;
      more = letter & 16 ? value !== -1 : value !== 0;
      if (more) letter |= 32;
      text += String.fromCharCode(letter + 48);
    }
  }
  return text;
}

// The runs of a picture's alpha channel, RGBA of width x height; a pixel is inside from half on.
export function runsOfAlpha(rgba, width, height) {
  const runs = [];
  let inside = false, run = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0, at = 4 * x + 3; y < height; y++, at += 4 * width) {
      if (rgba[at] > 127 === inside) run++;
      else { runs.push(run); run = 1; inside = !inside; }
    }
  }
  runs.push(run);
  return runs;
}

// A mask ready to be drawn and asked: its runs, its box and its area.
export function maskOf(counts, [height, width]) {
  const runs = runsOf(counts);
  let left = width, right = -1, top = height, bottom = -1, area = 0, start = 0;
  for (let i = 0; i < runs.length; i++) {
    const end = start + runs[i];
    if (i & 1 && runs[i]) {
      area += runs[i];
      const first = Math.floor(start / height), last = Math.floor((end - 1) / height);
      if (first < left) left = first;
      if (last > right) right = last;
      if (first !== last) { top = 0; bottom = height - 1; } else {
        const y = start - first * height, y2 = end - 1 - last * height;
        if (y < top) top = y;
        if (y2 > bottom) bottom = y2;
      }
    }
    start = end;
  }
  return { runs, height, width, area, left, top, right, bottom };
}

export function holds(mask, x, y) {
  if (x < mask.left || x > mask.right || y < mask.top || y > mask.bottom) return false;
  const place = x * mask.height + y;
  let start = 0;
  for (let i = 0; i < mask.runs.length; i++) {
    start += mask.runs[i];
    if (place < start) return (i & 1) === 1;
  }
  return false;
}

// The mask as one byte a pixel at 1/step of the size, inside its box; {x, y, width, height, inside}.
export function rasterOf(mask, step) {
  const x0 = Math.floor(mask.left / step), y0 = Math.floor(mask.top / step);
  const width = Math.floor(mask.right / step) - x0 + 1, height = Math.floor(mask.bottom / step) - y0 + 1;
  const inside = new Uint8Array(Math.max(0, width * height));
  let start = 0;
  for (let i = 0; i < mask.runs.length; i++) {
    let from = start;
    const end = start + mask.runs[i];
    if (i & 1) {
      while (from < end) {
        const x = Math.floor(from / mask.height), columnEnd = Math.min(end, (x + 1) * mask.height);
        if (x % step === 0) {
          const top = Math.ceil((from - x * mask.height) / step), bottom = Math.floor((columnEnd - 1 - x * mask.height) / step);
          const column = x / step - x0;
          for (let y = top; y <= bottom; y++) inside[(y - y0) * width + column] = 1;
        }
        from = columnEnd;
      }
    }
    start = end;
  }
  return { x: x0, y: y0, width, height, inside };
}

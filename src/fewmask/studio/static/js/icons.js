// Small drawings for buttons, 16 x 16, in the colour of the text around them.

const PATHS = {
  play: "M4 2.5v11l9-5.5z", pause: "M4 3h3v10H4zM9 3h3v10H9z",
  first: "M3 3h2v10H3zM13 3v10L6 8z", last: "M11 3h2v10h-2zM3 3v10l7-5z",
  back: "M11 3v10L4 8z", next: "M5 3v10l7-5z",
  eye: "M8 3C4 3 1.6 6.3 1 8c.6 1.7 3 5 7 5s6.4-3.300 7-5c-.6-1.700-3-5-7-5zm0 8.300A3.300 3.300 0 1 1 8 4.700a3.300 3.300 0 0 1 0 6.600zm0-1.700A1.600 1.600 0 1 0 8 6.400a1.600 1.600 0 0 0 0 3.200z",
  hidden: "M2.300 1.500 14.500 13.700l-1 1-2.500-2.500A7.400 7.400 0 0 1 8 13c-4 0-6.400-3.300-7-5a8.700 8.700 0 0 1 2.900-3.900L1.300 2.500zM5.200 5.400A3.300 3.300 0 0 0 9.800 10.900L8.500 9.500A1.600 1.600 0 0 1 6.500 7.500zM8 3c4 0 6.400 3.300 7 5a8.200 8.200 0 0 1-2 3.100L10.900 9a3.300 3.300 0 0 0-4-4L5.700 3.600A7 7 0 0 1 8 3z",
  solo: "M8 1.500a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13zm0 2a4.500 4.500 0 1 1 0 9 4.500 4.500 0 0 1 0-9zM8 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4z",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 16 16", width: "14", height: "14", "aria-hidden": "true", fill: "currentColor" })) svg.setAttribute(key, value);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

// Paths: strings of points between two places, their films and scores.

import { distance } from "./pictures.js";

/** The point after the part t of a string whose points are evenly spaced. */
export function along(points, t) {
  const at = Math.min(Math.max(t, 0), 1) * (points.length - 1);
  const first = Math.min(Math.floor(at), points.length - 2);
  const part = at - first;
  return points[first].map((value, d) => value + part * (points[first + 1][d] - value));
}

const POINTS = 65;
const PATIENCE = 30; // milliseconds, after which the page may move again

/** A straight line whose points are evenly spaced by how much the image changes, and its scores. */
export async function straight(decode, fields, a, b) {
  const count = POINTS;
  const even = Array.from({ length: count }, (_, i) => a.map((v, d) => v + (i / (count - 1)) * (b[d] - v)));
  const pictures = [];
  let begun = performance.now();
  for (const z of even) {
    pictures.push(decode(z));
    if (performance.now() - begun > PATIENCE) {
      await new Promise((resolve) => setTimeout(resolve));
      begun = performance.now();
    }
  }
  const lengths = [0];
  for (let i = 1; i < count; i++) lengths.push(lengths[i - 1] + distance(pictures[i], pictures[i - 1]));
  const total = lengths[count - 1];
  let segment = 0;
  const z = even.map((place, i) => {
    if (!total || i === 0 || i === count - 1) return place;
    const wanted = (total * i) / (count - 1);
    while (segment < count - 2 && lengths[segment + 1] < wanted) segment++;
    const part = (wanted - lengths[segment]) / (lengths[segment + 1] - lengths[segment] || 1);
    return even[segment].map((v, d) => v + part * (even[segment + 1][d] - v));
  });
  return { z, length: total, ...crossed(fields, z) };
}

/** What a string of points goes through: its share in holes, the least recognised, the classes in order. */
function crossed(fields, z) {
  const places = z.map((point) => fields.place(point));
  const classes = [];
  places.forEach(({ leading }, i) => {
    const name = leading.length ? fields.classes[leading[0].c] : "";
    if (name && classes.at(-1)?.class !== name)
      classes.push({ from: Math.max(i - 0.5, 0) / (z.length - 1), class: name });
  });
  return {
    in_holes: places.filter(({ hole }) => hole).length / z.length,
    recognised: places[0].recognised === null ? null : Math.min(...places.map(({ recognised }) => recognised)),
    classes,
  };
}

/** The way of a kind between two names, from a file of paths; backwards where it was found the other way. */
export function found(file, from, to, kind) {
  const pair = file.pairs.find(({ start, end }) => (start === from && end === to) || (start === to && end === from));
  if (!pair) throw new Error(file.refused.all ?? `no path between ${from} and ${to} was found beforehand`);
  const chosen = kind === "best" ? pair.best : kind;
  const way = pair.ways[chosen];
  if (!way) throw new Error(file.refused[chosen] ?? `there is no ${chosen} path here`);
  const why = kind === "best" ? `Best is ${pair.why}. ` : "";
  return pair.start === from ? { ...way, why } : { ...backwards(way), why };
}

function backwards(way) {
  const starts = way.classes.map(({ from }) => from);
  const classes = way.classes
    .map((entry, i) => ({ from: i + 1 < starts.length ? 1 - starts[i + 1] : 0, class: entry.class }))
    .reverse();
  return { ...way, z: way.z.slice().reverse(), classes };
}

/** A path's scores in a sentence. */
export function inWords(way) {
  const percent = (share) => `${(100 * share).toFixed(share && share < 0.1 ? 1 : 0)} %`;
  const parts = [`length ${way.length.toFixed(1)} in the image`, `${percent(way.in_holes)} in holes`];
  if (way.recognised !== null) parts.push(`least recognised ${way.recognised.toFixed(2)}`);
  const names = way.classes.map(({ from, class: name }) => (from ? `${name} (from ${percent(from)})` : name));
  const crosses = names.length ? ` Through ${names.join(", ")}.` : "";
  return `${way.why ?? ""}${parts.join(", ").replace(/^./, (letter) => letter.toUpperCase())}.${crosses}`;
}

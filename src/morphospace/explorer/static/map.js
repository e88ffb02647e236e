// The map: a layer of colour, dots, holes and names on one canvas; the point, the path and samples on another.

const LAYERS = {
  classes: {
    title: "classes",
    needs: "first",
    words: "Whose training images lie where. Colours mix where classes overlap, and fade where images are few.",
  },
  density: {
    title: "density",
    needs: "posterior",
    words: "How densely the training images lie: log₁₀ of q(z), five powers of ten down from the highest.",
    dots: ["--ink", 0.35],
  },
  recognisability: {
    title: "recognisability",
    needs: "recognised",
    words: "How sure a classifier is of the picture decoded at each place: the probability of its first guess.",
    dots: ["--on-ramp", 0.5],
  },
  stretch: {
    title: "stretch",
    needs: "stretch",
    words: "How fast the picture changes from place to place: log₁₀ of √det G, bright is fast.",
    dots: ["--on-ramp", 0.4],
  },
};
const FAINT_HALO = 3;

/** The layers that this space's files have fields for. */
export const layersOf = (arrays) => Object.entries(LAYERS).filter(([, layer]) => arrays[layer.needs]);

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const mix = (a, b, part) => a.map((value, i) => value + part * (b[i] - value));

export class MapView {
  constructor(root, space, fields) {
    this.root = root;
    this.space = space;
    this.fields = fields;
    this.ground = root.querySelector("#ground");
    this.over = root.querySelector("#over");
    this.colours = space.about.colours.map(rgb);
    this.layer = layersOf(space.arrays)[0][0];
    this.shown = { dots: true, holes: true, names: true };
    this.marks = { z: [0, 0], path: null, ends: [], samples: [] };
    this.view = space.about.view;
    const { low, high } = this.view;
    document.documentElement.style.setProperty("--aspect", (high[0] - low[0]) / (high[1] - low[1]));
    new ResizeObserver(() => this.resize()).observe(root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  resize() {
    const scale = window.devicePixelRatio || 1;
    this.width = this.root.clientWidth;
    this.height = this.root.clientHeight;
    if (!this.width || !this.height) return;
    for (const canvas of [this.ground, this.over]) {
      canvas.width = Math.round(this.width * scale);
      canvas.height = Math.round(this.height * scale);
      canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
    }
    this.draw();
  }

  /** Where a place of the space is on the canvas, and the way back. */
  toScreen([x, y]) {
    const { low, high } = this.view;
    return [((x - low[0]) / (high[0] - low[0])) * this.width, ((high[1] - y) / (high[1] - low[1])) * this.height];
  }

  toSpace([left, top]) {
    const { low, high } = this.view;
    return [low[0] + (left / this.width) * (high[0] - low[0]), high[1] - (top / this.height) * (high[1] - low[1])];
  }

  colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // ---------------------------------------------------------------- the ground

  draw() {
    if (!this.width) return;
    const canvas = this.ground.getContext("2d");
    canvas.clearRect(0, 0, this.width, this.height);
    canvas.imageSmoothingEnabled = true;
    canvas.imageSmoothingQuality = "high";
    const { low, high } = this.fields;
    const [left, top] = this.toScreen([low[0], high[1]]);
    const [right, bottom] = this.toScreen([high[0], low[1]]);
    canvas.drawImage(this.painted(), left, top, right - left, bottom - top);
    if (this.shown.dots) this.drawDots(canvas);
    if (this.shown.holes) this.drawHoles(canvas);
    if (this.shown.names) this.drawNames(canvas);
    this.drawMarks();
  }

  /** The layer as a picture with one pixel for each cell, the first row at the bottom. */
  painted() {
    const { rows, columns } = this.fields;
    const canvas = new OffscreenCanvas(columns, rows);
    const context = canvas.getContext("2d");
    const picture = context.createImageData(columns, rows);
    const paint = this.painter();
    for (let row = 0, cell = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, cell++) {
        const at = 4 * ((rows - 1 - row) * columns + column);
        const colour = paint(cell);
        picture.data[at] = colour[0];
        picture.data[at + 1] = colour[1];
        picture.data[at + 2] = colour[2];
        picture.data[at + 3] = 255;
      }
    }
    context.putImageData(picture, 0, 0);
    return canvas;
  }

  /** A function from a cell to its colour. */
  painter() {
    const { arrays, about } = this.space;
    const paper = rgb(this.colour("--paper"));
    const ramp = this.ramp();
    if (this.layer === "classes") {
      const { first, shares, posterior } = arrays;
      const peak = posterior.reduce((most, value) => Math.max(most, value), 0);
      const cells = posterior.length;
      return (cell) => {
        const strength = Math.max(0, 1 + Math.log10(posterior[cell] / peak) / 4);
        let total = 0;
        const sum = [0, 0, 0];
        for (let at = cell; at < first.length; at += cells) {
          total += shares[at];
          const colour = this.colours[first[at]];
          for (let i = 0; i < 3; i++) sum[i] += shares[at] * colour[i];
        }
        if (!total || !(strength > 0)) return paper;
        return mix(paper, sum.map((value) => value / total), 0.62 * strength);
      };
    }
    const field = arrays[LAYERS[this.layer].needs];
    const { low, high, log, scale } = this.range();
    return (cell) => {
      const value = log ? Math.log10(field[cell]) : field[cell] / scale;
      const part = Math.min(Math.max((value - low) / (high - low), 0), 1);
      return ramp[Math.round(255 * (Number.isNaN(part) ? 0 : part))];
    };
  }

  /** What the ends of the layer's colours stand for. */
  range() {
    const { arrays } = this.space;
    if (this.layer === "density") {
      const high = Math.log10(arrays.posterior.reduce((most, value) => Math.max(most, value), 0));
      return { low: high - 5, high, log: true };
    }
    if (this.layer === "stretch") {
      const sorted = arrays.stretch.slice().sort();
      const at = (part) => Math.log10(Math.max(sorted[Math.floor(part * (sorted.length - 1))], 1e-30));
      return { low: at(0.02), high: Math.max(at(0.995), at(0.02) + 0.1), log: true };
    }
    return { low: 0.3, high: 1, log: false, scale: 255 };
  }

  ramp() {
    if (this.layer === "recognisability") return this.space.about.ramps.cividis;
    if (this.layer === "stretch") return this.space.about.ramps.magma;
    const [paper, full] = [rgb(this.colour("--paper")), rgb(this.colour("--density"))];
    return Array.from({ length: 256 }, (_, i) => mix(paper, full, i / 255));
  }

  drawDots(canvas) {
    const { dots, dot_classes: classes } = this.space.arrays;
    if (!dots) return;
    const radius = Math.max(0.9, Math.min(1.5, this.width / 450));
    const [name, alpha] = LAYERS[this.layer].dots ?? [null, 0.75]; // in class colours on the map of classes alone
    if (name) canvas.fillStyle = this.colour(name);
    canvas.globalAlpha = alpha;
    for (let i = 0; i < dots.length / 2; i++) {
      const [left, top] = this.toScreen([dots[2 * i], dots[2 * i + 1]]);
      if (!name) canvas.fillStyle = this.space.about.colours[classes ? classes[i] : 0];
      canvas.fillRect(left - radius, top - radius, 2 * radius, 2 * radius);
    }
    canvas.globalAlpha = 1;
  }

  drawHoles(canvas) {
    const path = new Path2D();
    for (const lines of this.space.about.holes) {
      for (const line of lines) {
        line.forEach((place, i) => path[i ? "lineTo" : "moveTo"](...this.toScreen(place)));
        path.closePath();
      }
    }
    const colour = this.colour("--hole");
    canvas.save();
    canvas.strokeStyle = colour;
    canvas.lineWidth = 1.1;
    canvas.stroke(path);
    canvas.clip(path, "evenodd");
    canvas.globalAlpha = 0.3;
    canvas.lineWidth = 0.8;
    canvas.beginPath();
    for (let at = -this.height; at < this.width; at += 8) {
      canvas.moveTo(at, this.height);
      canvas.lineTo(at + this.height, 0);
    }
    canvas.stroke();
    canvas.restore();
  }

  /** Names at the middle of their classes, moved apart up and down where they would overlap. */
  drawNames(canvas) {
    const size = this.width < 480 ? 11 : 13;
    canvas.font = `600 ${size}px system-ui, "Noto Sans", "DejaVu Sans", sans-serif`;
    canvas.textAlign = "center";
    canvas.textBaseline = "middle";
    const boxes = [];
    this.space.about.centres.forEach((centre, c) => {
      if (!centre.length) return;
      const name = this.space.about.classes[c];
      const half = canvas.measureText(name).width / 2 + 4;
      const [left, top] = this.toScreen(centre);
      boxes.push({ name, half, left: Math.min(Math.max(left, half), this.width - half), top });
    });
    for (let round = 0; round < 40; round++) {
      for (const a of boxes) {
        for (const b of boxes) {
          const apart = size * 1.25 - Math.abs(a.top - b.top);
          if (a === b || apart <= 0 || Math.abs(a.left - b.left) >= a.half + b.half) continue;
          const sign = a.top < b.top || (a.top === b.top && boxes.indexOf(a) < boxes.indexOf(b)) ? -1 : 1;
          a.top += (sign * apart) / 2;
          b.top -= (sign * apart) / 2;
        }
      }
    }
    canvas.lineJoin = "round";
    canvas.lineWidth = FAINT_HALO;
    canvas.strokeStyle = this.colour("--paper");
    canvas.fillStyle = this.colour("--ink");
    for (const { name, left, top } of boxes) {
      canvas.strokeText(name, left, top);
      canvas.fillText(name, left, top);
    }
  }

  // ---------------------------------------------------------------- what moves

  drawMarks() {
    if (!this.width) return;
    const canvas = this.over.getContext("2d");
    const [ink, paper] = [this.colour("--ink"), this.colour("--paper")];
    canvas.clearRect(0, 0, this.width, this.height);
    canvas.lineJoin = canvas.lineCap = "round";
    const twice = (draw, width) => {
      for (const [colour, more] of [[paper, 3], [ink, 0]]) {
        canvas.strokeStyle = colour;
        canvas.lineWidth = width + more;
        draw();
      }
    };
    if (this.marks.path) {
      const line = new Path2D();
      this.marks.path.forEach((place, i) => line[i ? "lineTo" : "moveTo"](...this.toScreen(place)));
      twice(() => canvas.stroke(line), 2);
    }
    for (const place of this.marks.samples) {
      const [left, top] = this.toScreen(place);
      const mark = new Path2D(`M${left} ${top - 5}l5 5l-5 5l-5 -5z`);
      twice(() => canvas.stroke(mark), 1.5);
    }
    for (const place of this.marks.ends) this.circle(canvas, place, 4, ink, paper);
    this.circle(canvas, this.marks.z, 8, this.colour("--accent"), paper);
  }

  circle(canvas, place, radius, fill, edge) {
    const [left, top] = this.toScreen(place);
    canvas.beginPath();
    canvas.arc(left, top, radius, 0, 2 * Math.PI);
    canvas.fillStyle = fill;
    canvas.fill();
    canvas.lineWidth = 2.5;
    canvas.strokeStyle = edge;
    canvas.stroke();
  }

  // ---------------------------------------------------------------- what the colours mean

  legend(into) {
    into.replaceChildren();
    const list = document.createElement("ul");
    const entry = (swatch, words) => {
      const item = document.createElement("li");
      item.append(swatch, words);
      list.append(item);
    };
    const box = (kind, colour) => {
      const swatch = document.createElement("span");
      swatch.className = `swatch ${kind}`;
      if (colour) swatch.style.background = colour;
      return swatch;
    };
    const { classes, colours } = this.space.about;
    const dots = this.shown.dots && this.space.arrays.dots;
    if (this.layer !== "classes") entry(...this.rampEntry());
    if (this.layer === "classes" && classes.length <= 24)
      classes.forEach((name, c) => entry(box("", colours[c]), name));
    if (dots) entry(box("dot"), "a training image");
    if (this.shown.holes) entry(box("hatched"), "hole: q(z) < 0.1 p(z)");
    if (this.marks.samples.length) entry(box("diamond"), "a sample");
    const words = document.createElement("p");
    words.className = "hint";
    words.textContent = LAYERS[this.layer].words;
    into.append(list, words);
  }

  rampEntry() {
    const bar = document.createElement("canvas");
    bar.className = "ramp";
    bar.width = 256;
    bar.height = 1;
    const context = bar.getContext("2d");
    const picture = context.createImageData(256, 1);
    this.ramp().forEach((colour, i) => picture.data.set([...colour.map(Math.round), 255], 4 * i));
    context.putImageData(picture, 0, 0);
    const { low, high } = this.range();
    const words = document.createElement("span");
    words.textContent = `${low.toFixed(1)} to ${high.toFixed(1)}`.replaceAll("-", "−");
    return [bar, words];
  }
}

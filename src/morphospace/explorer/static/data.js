// The space's numbers as the files hold them, and what they say of a place.

const KINDS = { f4: Float32Array, i4: Int32Array, u2: Uint16Array, u1: Uint8Array };

async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} could not be read (${answer.status})`);
  return answer;
}

/** Everything but the paths: the record of space.json, its arrays by name, and the decoder's file. */
export async function load() {
  const [about, map, weights] = await Promise.all([
    fetched("space.json").then((answer) => answer.json()),
    fetched("map.bin").then((answer) => answer.arrayBuffer()),
    fetched("decoder.bin").then((answer) => answer.arrayBuffer()),
  ]);
  const arrays = {};
  for (const [name, { kind, shape, at }] of Object.entries(about.arrays)) {
    const count = shape.reduce((product, side) => product * side, 1);
    arrays[name] = new KINDS[kind](map, at, count);
  }
  return { about, arrays, weights };
}

let asked = null;

/** The paths between classes; a server may need a while to find them the first time. */
export function loadPaths() {
  asked ??= fetched("paths.json")
    .then((answer) => answer.json())
    .catch((error) => {
      asked = null;
      throw error;
    });
  return asked;
}

/** Fields on the grid, as functions of a place. */
export class Fields {
  constructor({ about, arrays }) {
    this.arrays = arrays;
    this.classes = about.classes;
    [this.rows, this.columns] = about.box.cells;
    this.low = about.box.low;
    this.high = about.box.high;
    this.step = [(this.high[0] - this.low[0]) / this.columns, (this.high[1] - this.low[1]) / this.rows];
  }

  /** A field between the centres of cells, bilinear; beyond the outermost its value there. */
  at(name, [x, y], scale = 1) {
    const field = this.arrays[name];
    const [row, down] = between((y - this.low[1]) / this.step[1] - 0.5, this.rows);
    const [column, right] = between((x - this.low[0]) / this.step[0] - 0.5, this.columns);
    const from = row * this.columns + column;
    const upper = field[from] * (1 - right) + field[from + 1] * right;
    const lower = field[from + this.columns] * (1 - right) + field[from + this.columns + 1] * right;
    return (upper * (1 - down) + lower * down) / scale;
  }

  /** The classes with the largest shares in the cell of a place, largest first. */
  leading([x, y]) {
    if (!this.arrays.first) return [];
    const inside = (value, count) => Math.min(Math.max(Math.floor(value), 0), count - 1);
    const row = inside((y - this.low[1]) / this.step[1], this.rows);
    const column = inside((x - this.low[0]) / this.step[0], this.columns);
    const cells = this.rows * this.columns;
    const found = [];
    for (let at = row * this.columns + column; at < this.arrays.first.length; at += cells)
      found.push({ c: this.arrays.first[at], share: this.arrays.shares[at] / 255 });
    return found;
  }

  /** What is known of a place. A hole is where q is below a tenth of p. */
  place(z) {
    const q = this.at("posterior", z);
    const p = this.at("prior", z);
    return {
      q,
      p,
      hole: q < 0.1 * p,
      leading: this.leading(z),
      recognised: this.arrays.recognised ? this.at("recognised", z, 255) : null,
      stretch: this.arrays.stretch ? this.at("stretch", z) : null,
    };
  }
}

function between(value, count) {
  const at = Math.min(Math.max(value, 0), count - 1);
  const first = Math.min(Math.floor(at), count - 2);
  return [first, at - first];
}

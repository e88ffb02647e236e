// The decoder as the space wrote it down (explorer/program.py): steps of a few kinds between buffers of numbers.

const UNARY = {
  silu: (v) => v / (1 + Math.exp(-v)),
  relu: (v) => Math.max(v, 0),
  sigmoid: (v) => 1 / (1 + Math.exp(-v)),
  tanh: Math.tanh,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  abs: Math.abs,
  neg: (v) => -v,
  reciprocal: (v) => 1 / v,
  softplus: (v) => (v > 20 ? v : Math.log1p(Math.exp(v))),
  pow: (v, by) => v ** by,
  lt: (v, than) => (v < than ? 1 : 0),
  clamp: (v, low, high) => Math.min(Math.max(v, low), high),
};

const PAIRS = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
};

/** (R, n) times the weights' rows (m, n), plus a bias: (R, m). */
function linear(x, out, weight, bias, outputs) {
  const inputs = weight.length / outputs;
  for (let row = 0, at = 0; at < out.length; row += inputs) {
    for (let m = 0, w = 0; m < outputs; m++, at++) {
      let sum = bias ? bias[m] : 0;
      for (let n = 0; n < inputs; n++, w++) sum += weight[w] * x[row + n];
      out[at] = sum;
    }
  }
}

/** A convolution of (C, H, W) with (O, C, kh, kw), with noughts around it. */
function conv(x, out, weight, bias, step) {
  const [outputs, inputs, kh, kw] = step.kernel;
  const [height, width] = step.sides;
  const [sy, sx] = step.stride;
  const [py, px] = step.padding;
  const rows = Math.floor((height + 2 * py - kh) / sy) + 1;
  const columns = Math.floor((width + 2 * px - kw) / sx) + 1;
  const sums = new Float64Array(rows * columns);
  for (let o = 0; o < outputs; o++) {
    sums.fill(bias ? bias[o] : 0);
    for (let c = 0; c < inputs; c++) {
      for (let ky = 0; ky < kh; ky++) {
        for (let kx = 0; kx < kw; kx++) {
          const w = weight[((o * inputs + c) * kh + ky) * kw + kx];
          const first = Math.max(0, Math.ceil((px - kx) / sx));
          const last = Math.min(columns, Math.floor((width - 1 + px - kx) / sx) + 1);
          for (let row = 0; row < rows; row++) {
            const y = row * sy + ky - py;
            if (y < 0 || y >= height) continue;
            const from = (c * height + y) * width + kx - px;
            const to = row * columns;
            for (let column = first; column < last; column++) sums[to + column] += w * x[from + column * sx];
          }
        }
      }
    }
    out.set(sums, o * rows * columns);
  }
}

function softmax(x, out, width) {
  for (let start = 0; start < x.length; start += width) {
    let most = -Infinity;
    for (let i = start; i < start + width; i++) most = Math.max(most, x[i]);
    let sum = 0;
    for (let i = start; i < start + width; i++) sum += Math.exp(x[i] - most);
    for (let i = start; i < start + width; i++) out[i] = Math.exp(x[i] - most) / sum;
  }
}

const KINDS = {
  linear: (s, buffers, out, tensors) => linear(buffers[s.of], out, tensors[s.weight], tensors[s.bias], s.outputs),
  conv: (s, buffers, out, tensors) => conv(buffers[s.of], out, tensors[s.weight], tensors[s.bias], s),
  softmax: (s, buffers, out) => softmax(buffers[s.of], out, s.width),
  gather: (s, buffers, out, tensors) => {
    const from = buffers[s.of];
    const at = tensors[s.at];
    for (let i = 0; i < out.length; i++) out[i] = at[i] < 0 ? 0 : from[at[i]];
  },
  map: (s, buffers, out) => {
    const f = UNARY[s.f];
    const x = buffers[s.of];
    const [a, b] = s.numbers;
    for (let i = 0; i < out.length; i++) out[i] = f(x[i], a, b);
  },
  pair: (s, buffers, out) => {
    const f = PAIRS[s.f];
    const [a, b] = s.of.map((n) => buffers[n]);
    for (let i = 0; i < out.length; i++) out[i] = f(a[i], b[i]);
  },
  where: (s, buffers, out) => {
    const [condition, a, b] = s.of.map((n) => buffers[n]);
    for (let i = 0; i < out.length; i++) out[i] = condition[i] ? a[i] : b[i];
  },
  sum: (s, buffers, out) => {
    const x = buffers[s.of];
    for (let i = 0; i < out.length; i++) {
      let sum = 0;
      for (let j = i * s.width; j < (i + 1) * s.width; j++) sum += x[j];
      out[i] = sum;
    }
  },
};

/** A function from z, a few numbers, to the mean image (C·H·W) as a Float32Array that is yours to keep. */
export function makeDecoder(program, bytes) {
  const tensors = program.tensors.map(({ kind, at, count }) =>
    kind === "i4" ? new Int32Array(bytes, at, count) : new Float32Array(bytes, at, count),
  );
  const buffers = program.buffers.map((count) => new Float32Array(count));
  const steps = [];
  for (const step of program.steps) {
    if (step.op === "constant") buffers[step.to] = tensors[step.value];
    else if (!KINDS[step.op] || (step.f && !(UNARY[step.f] || PAIRS[step.f])))
      throw new Error(`this page does not know the step ${step.op} ${step.f ?? ""}`);
    else steps.push(step);
  }
  return (z) => {
    buffers[0].set(z);
    for (const step of steps) KINDS[step.op](step, buffers, buffers[step.to], tensors);
    return buffers[program.output].slice();
  };
}

// Named parameters from a safetensors file: the length of a JSON header (u64, little-endian), the
// header, the numbers.

export function readParams(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const begin = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, begin)));
  const params = new Map();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [start, end] = entry.data_offsets.map((offset) => begin + offset);
    const numbers = NUMBERS[entry.dtype];
    if (!numbers) throw new Error(`parameter ${name} has type ${entry.dtype}`);
    // A copy: the numbers of a file are not aligned.
    params.set(name, { shape: entry.shape, data: numbers(bytes.slice(start, end)) });
  }
  return new Scope(params, "");
}

const NUMBERS = {
  F32: (bytes) => new Float32Array(bytes.buffer),
  F16: (bytes) => Float32Array.from(new Uint16Array(bytes.buffer), fromHalf),
};

function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** A place in the tree of parameter names. */
class Scope {
  constructor(params, path) {
    this.params = params;
    this.path = path;
  }

  /** The place `name` below this one. */
  pp(name) {
    return new Scope(this.params, `${this.path}${name}.`);
  }

  get(name) {
    const found = this.params.get(this.path + name);
    if (!found) throw new Error(`the weights have no parameter ${this.path}${name}`);
    return found;
  }

  linear(name) {
    return { weight: this.pp(name).get("weight"), bias: this.pp(name).get("bias") };
  }

  linearWithoutBias(name) {
    return { weight: this.pp(name).get("weight") };
  }
}
